"use strict";
(() => {
  const palette = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8a8a8a"];
  const symbols = ["circle", "square", "triangle-up", "x", "triangle-down", "star", "pentagon"];
  const percent = new Set(["accuracy", "read", "read_by_victim", "top1", "top5", "top1_in_class", "label_agreement"]);
  const escaped = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
  const short = (text) => escaped(text.length > 42 ? text.slice(0, 41) + "…" : text);
  const wrapped = (text) => escaped(text).replace(/(.{50,72}?) /g, "$1<br>");

  const bars = (points) => ({
    type: "data", symmetric: false, thickness: 1.2, width: 3,
    array: points.map(([v, , high]) => (high === null ? 0 : Math.max(high - v, 0))),
    arrayminus: points.map(([v, low]) => (low === null ? 0 : Math.max(v - low, 0))),
  });

  function draw(figure) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const plot = figure.querySelector(".plot");
    const choice = figure.querySelector(".leakage"), other = figure.querySelector(".utility");
    const show = (paper) => {
      const css = getComputedStyle(document.documentElement);
      const colour = (name) => css.getPropertyValue(name).trim();
      const [ink, muted, line, page] = ["--ink", "--muted", "--line", "--page"].map(colour);
      const name = choice.value, metric = data.metrics[name];
      const worth = other ? other.value : data.worth, utility = data.utilities[worth];
      const known = (run) => typeof (run.utility[worth] || [])[0] === "number";
      const traces = data.runs.flatMap((run, i) => {
        const x = run.utility[worth], y = run.leakage[name] || [null, null, null];
        if (!known(run) || y[0] === null) return [];
        const tint = run.undefended ? ink : palette[i % palette.length];
        return [{
          type: "scatter", mode: "markers", name: short(run.label), x: [x[0]], y: [y[0]],
          error_x: { ...bars([x]), color: tint }, error_y: { ...bars([y]), color: tint },
          marker: { size: 11, color: tint, symbol: run.undefended ? "diamond" : symbols[i % symbols.length] },
          text: ["<b>" + wrapped(run.label) + "</b><br>" + run.lines.map(wrapped).join("<br>")],
          hovertemplate: "%{text}<extra></extra>",
        }];
      });
      for (const floor of data.apart) {
        const runs = data.runs.filter((r) => known(r) && r.floors[floor] && typeof r.floors[floor][name] === "number");
        if (!runs.length) continue;
        traces.push({
          type: "scatter", mode: "markers", name: "floor of each run: " + short(floor),
          x: runs.map((r) => r.utility[worth][0]), y: runs.map((r) => r.floors[floor][name]),
          marker: { symbol: "line-ew-open", size: 16, color: muted, line: { width: 2, color: muted } },
          text: runs.map((r) => escaped(floor) + " floor of " + wrapped(r.label)),
          hovertemplate: "%{text}<br>%{y:" + (percent.has(name) ? ".1%" : ".4") + "}<extra></extra>",
        });
      }
      const shapes = [], annotations = [];
      const levels = data.common.map((f) => [f, (data.runs[0].floors[f] || {})[name]]).filter(([, v]) => typeof v === "number");
      levels.sort((a, b) => a[1] - b[1]).forEach(([floor, value], i) => {
        shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value, layer: "below", line: { color: muted, width: 1, dash: "dash" } });
        annotations.push({ xref: "paper", x: i % 2 ? 0.3 : 0.005, y: value, xanchor: "left", yanchor: "bottom", showarrow: false, text: "floor: " + escaped(floor), font: { size: 12, color: muted } });
      });
      const axis = { gridcolor: line, zeroline: false, linecolor: muted, showline: true, ticks: "outside", tickcolor: muted, automargin: true };
      const values = [...traces.flatMap((t) => t.y), ...levels.map(([, v]) => v)];
      for (const run of data.runs) {
        for (const v of run.leakage[name] || []) if (typeof v === "number") values.push(v);
      }
      const low = Math.min(...values), high = Math.max(...values), pad = (high - low || Math.abs(high) || 1) * 0.09;
      const range = [low - pad, high + pad];
      const unit = metric.unit ? " (" + metric.unit + ")" : "";
      const hint = metric.leaks === "high" ? "higher leaks more" : "lower leaks more; axis reversed";
      const narrow = plot.clientWidth < 640;
      Plotly.react(plot, traces, {
        paper_bgcolor: page, plot_bgcolor: page, font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink },
        margin: { l: 64, r: 16, t: 34, b: 60 }, hovermode: "closest", shapes, annotations,
        xaxis: { ...axis, title: { text: escaped(utility.label) + (utility.leaks === "high" ? " (axis reversed)" : "") }, tickformat: percent.has(worth) ? ".1~%" : "", autorange: utility.leaks === "high" ? "reversed" : true, nticks: narrow ? 4 : 9 },
        yaxis: { ...axis, title: { text: escaped(metric.label) + unit + "<br><span style='font-size:11px'>" + hint + "</span>" }, tickformat: percent.has(name) ? ".0%" : "", range: metric.leaks === "high" ? range : range.reverse() },
        legend: narrow ? { orientation: "h", y: -0.2, yanchor: "top" } : { x: 1.02, y: 1 },
        hoverlabel: { align: "left", bgcolor: colour("--panel"), bordercolor: muted, font: { color: ink, size: 12 } },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: ink },
        ...(paper ? { width: 680 } : { autosize: true }),
      }, { responsive: true, displaylogo: false, displayModeBar: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
    };
    for (const select of [choice, other]) if (select) select.addEventListener("change", () => show(false));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(false));
    matchMedia("print").addEventListener("change", (e) => show(e.matches));
    let width = plot.clientWidth;
    addEventListener("resize", () => {
      if ((width < 640) !== (plot.clientWidth < 640)) show(false);
      width = plot.clientWidth;
    });
    show(false);
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        heads.forEach((h) => h.hasAttribute("aria-sort") && h.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (body) => {
          const cell = body.rows[0].cells[column];
          return "v" in cell.dataset ? (cell.dataset.v === "" ? null : Number(cell.dataset.v)) : (cell.querySelector("span") || cell).textContent.trim();
        };
        const runs = [...table.querySelectorAll("tbody.run")].sort((a, b) => {
          const [p, q] = [key(a), key(b)];
          if (p === null || q === null) return (p === null) - (q === null);
          const order = typeof p === "number" ? p - q : p.localeCompare(q);
          return up ? order : -order;
        });
        runs.forEach((body) => table.insertBefore(body, table.tFoot));
      });
    });
  }

  document.querySelectorAll("table.numbers").forEach(sortable);
  document.querySelectorAll("figure.chart").forEach(draw);
  document.querySelectorAll(".flags details, details").forEach((d) => addEventListener("beforeprint", () => { d.open = true; }));
})();

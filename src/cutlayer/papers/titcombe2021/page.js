"use strict";
(() => {
  const escaped = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
  const wrapped = (text) => escaped(text).replace(/(.{44,66}?) /g, "$1<br>");
  const signs = { circle: "circle", square: "square", "triangle-up": "triangle-up", x: "x", diamond: "diamond" };

  function trace(series, tint) {
    const found = {
      type: "scatter", name: escaped(series.label), x: series.x, y: series.y, showlegend: series.listed,
      mode: [series.line && "lines", series.symbol && "markers", series.near.length && "text"].filter(Boolean).join("+"),
      line: { color: tint, width: series.width, dash: series.line || "solid" },
      marker: { color: tint, size: 9, symbol: signs[series.symbol] || "circle" },
      text: series.near.map((t) => t && "\u2002" + escaped(t)), textposition: "middle right", textfont: { size: 11 },
      customdata: series.text.map(wrapped),
      hovertemplate: series.text.length ? "%{customdata}<extra></extra>" : undefined,
      hoverinfo: series.listed ? undefined : "skip",
    };
    if (series.low.length) {
      found.error_y = {
        type: "data", symmetric: false, thickness: 1.2, width: 3, color: tint,
        array: series.y.map((y, i) => Math.max(series.high[i] - y, 0)),
        arrayminus: series.y.map((y, i) => Math.max(y - series.low[i], 0)),
      };
    }
    return found;
  }

  function draw(figure) {
    const views = JSON.parse(figure.querySelector("script").textContent);
    const plot = figure.querySelector(".plot");
    const choice = figure.querySelector("select");
    const show = (paper) => {
      const css = getComputedStyle(document.documentElement);
      const colour = (name) => css.getPropertyValue(name).trim();
      const [ink, muted, line, page] = ["--ink", "--muted", "--line", "--page"].map(colour);
      const view = views[choice ? Number(choice.value) : 0];
      const tints = { ink, muted };
      const narrow = plot.clientWidth < 640;
      const axis = { gridcolor: line, zeroline: false, linecolor: muted, showline: true, ticks: "outside", tickcolor: muted, automargin: true };
      const ticks = view.x_ticks.length ? { tickvals: view.x_ticks, ticktext: view.x_ticks.map((v) => v.toLocaleString("en")) } : {};
      Plotly.react(plot, view.series.map((s) => trace(s, tints[s.colour] || s.colour)), {
        paper_bgcolor: page, plot_bgcolor: page, hovermode: "closest",
        font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink },
        margin: { l: 64, r: 16, t: 24, b: 60 },
        xaxis: { ...axis, ...ticks, title: { text: escaped(view.x_title) }, type: view.x_log ? "log" : "linear", tickformat: view.x_percent ? ".0%" : "" },
        yaxis: { ...axis, title: { text: escaped(view.y_title) }, tickformat: view.y_percent ? ".0%" : "" },
        showlegend: true,
        legend: narrow ? { orientation: "h", y: -0.22, yanchor: "top" } : { x: 1.02, y: 1 },
        hoverlabel: { align: "left", bgcolor: colour("--panel"), bordercolor: muted, font: { color: ink, size: 12 } },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: ink },
        ...(paper ? { width: 680 } : { autosize: true }),
      }, { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
    };
    if (choice) choice.addEventListener("change", () => show(false));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(false));
    matchMedia("print").addEventListener("change", (e) => show(e.matches));
    let width = plot.clientWidth;
    addEventListener("resize", () => {
      if ((width < 640) !== (plot.clientWidth < 640)) show(false);
      width = plot.clientWidth;
    });
    show(false);
  }

  document.querySelectorAll("figure.chart").forEach(draw);
  document.querySelectorAll("details").forEach((d) => addEventListener("beforeprint", () => { d.open = true; }));
})();

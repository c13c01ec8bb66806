"use strict";
(() => {
  const block = document.getElementById("data");
  if (!block) return;
  const data = JSON.parse(block.textContent);
  const every = data.configurations;
  const palette = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8a8a8a"];
  const cuts = [...new Set(every.map((c) => c.cut))];
  const boxes = [...document.querySelectorAll(".threat")];
  const choice = document.getElementById("protect");
  const plot = document.querySelector(".plot");
  const chosen = every.find((c) => c.key === (data.recommended || data.nearest));
  let protect = data.protect, threats = new Set();

  const escaped = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
  const wrapped = (text) => escaped(text).replace(/(.{40,60}?) /g, "$1<br>");
  const known = (v) => typeof v === "number";
  const percent = (v) => (v * 100).toFixed(1) + "\u202f%";
  const number = (v) => (!known(v) ? "–" : protect === "pixels" ? v.toFixed(3) : percent(v));
  const unit = data.of_answers ? 1 : 100;
  const points = (v) => data.of_answers ? (known(v) ? v.toFixed(4) : "–") : (known(v) ? (v * 100).toFixed(1).replace("-0.0", "0.0").replace("-", "−") : "–");
  const change = (v) => (data.of_answers ? "L1 " + points(v) : (points(v)[0] === "−" ? "+" : "") + points(known(v) ? -v : v));
  const interval = (e, show) => (known(e[1]) && known(e[2]) ? show(e[1]) + " … " + show(e[2]) : "");
  const granted = (a) => a.threats.some((t) => threats.has(t));
  const guess = (a) => (known(a.floors[protect]) ? a.floors[protect] : data.chance[protect]);
  const leaks = (a) => a.leakage[protect] || [null, null, null];

  /** The attacker who learns most, of those that a chosen threat model grants. */
  function worst(c) {
    let found = null;
    for (const a of c.attacks) {
      if (granted(a) && known(leaks(a)[0]) && (!found || leaks(a)[0] > leaks(found)[0])) found = a;
    }
    return found;
  }
  const shown = () => every.map((c) => ({ c, worst: worst(c) })).filter((s) => s.worst && known(s.c.lost[0]));

  /** The audit's own front where its own question is asked, else what no other point beats. */
  function front(points) {
    const own = protect === data.protect && (!data.threats.length || data.threats.length === threats.size) && data.threats.every((t) => threats.has(t));
    const at = (s) => [s.c.lost[0], leaks(s.worst)[0]];
    const beats = (a, b) => a[0] <= b[0] && a[1] <= b[1] && (a[0] < b[0] || a[1] < b[1]);
    const close = points.filter((s) => s.c.thorough), pool = close.length ? close : points;
    const found = points.filter((s) => (own ? data.front.includes(s.c.key) : pool.includes(s) && !pool.some((o) => beats(at(o), at(s)))));
    return found.sort((a, b) => at(a)[0] - at(b)[0] || at(b)[1] - at(a)[1]);
  }

  function element(tag, text, kind) {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }
  function valued(cell, e, show) {
    cell.replaceChildren(element("b", show(e[0])));
    const around = interval(e, show);
    if (around) cell.append(element("small", around));
    return cell;
  }
  function flag(name) {
    const made = element("a", name, "flag"), about = document.getElementById("flag-" + name);
    made.href = "#flag-" + name;
    if (about) made.title = about.querySelector("dd").firstChild.textContent.trim();
    return made;
  }

  const hover = (s) => [
    "<b>" + wrapped(s.c.title) + "</b>",
    (data.of_answers ? "answers moved by: " : "accuracy given up: ") + points(s.c.lost[0]) + (data.of_answers ? " (" : " points (") + interval(s.c.lost, points) + ")",
    "worst attacker: " + wrapped(s.worst.name),
    "learns " + number(leaks(s.worst)[0]) + " (" + interval(leaks(s.worst), number) + "), guessing " + number(guess(s.worst)),
    ...[...new Set([...s.c.flags, ...s.worst.flags])].map((f) => "flag: " + escaped(f)),
    ...(s.c.thorough ? [] : ["only a quick look was taken"]),
  ].join("<br>");

  const bars = (list, scale, colour) => ({
    type: "data", symmetric: false, thickness: 1.2, width: 3, color: colour,
    array: list.map((e) => (known(e[2]) ? Math.max(e[2] - e[0], 0) * scale : 0)),
    arrayminus: list.map((e) => (known(e[1]) ? Math.max(e[0] - e[1], 0) * scale : 0)),
  });

  function draw(paper) {
    const css = getComputedStyle(document.documentElement);
    const colour = (name) => css.getPropertyValue(name).trim();
    const [ink, muted, line, page] = ["--ink", "--muted", "--line", "--page"].map(colour);
    const seen = shown(), along = front(seen), narrow = plot.clientWidth < 520;
    const xy = (list) => ({ x: list.map((s) => s.c.lost[0] * unit), y: list.map((s) => leaks(s.worst)[0]) });
    const traces = [{ type: "scatter", mode: "lines", name: "front", ...xy(along), line: { color: muted, width: 1.5 }, hoverinfo: "skip" }];
    cuts.forEach((cut, i) => {
      const here = seen.filter((s) => s.c.cut === cut), tint = palette[i % palette.length];
      if (!here.length) return;
      const symbol = (s) => (s.c.defended ? "circle" : "diamond") + (s.c.thorough ? "" : "-open");
      traces.push({
        type: "scatter", mode: "markers", name: escaped(cut), ...xy(here), customdata: here.map((s) => s.c.key),
        error_x: bars(here.map((s) => s.c.lost), unit, tint), error_y: bars(here.map((s) => leaks(s.worst)), 1, tint),
        marker: { size: 10, color: tint, symbol: here.map(symbol), line: { width: 1.5, color: tint } },
        text: here.map(hover), hovertemplate: "%{text}<extra></extra>",
      });
    });
    const mark = seen.find((s) => s.c === chosen);
    const annotations = [], shapes = [];
    if (mark) {
      traces.push({ type: "scatter", mode: "markers", showlegend: false, ...xy([mark]), hoverinfo: "skip", marker: { size: 20, symbol: "circle-open", color: ink, line: { width: 2 } } });
      annotations.push({ ...{ x: mark.c.lost[0] * unit, y: leaks(mark.worst)[0] }, text: data.recommended ? "recommended" : "nearest", ax: 44, ay: -34, arrowcolor: ink, arrowwidth: 1, arrowhead: 0, standoff: 10, font: { color: ink, size: 12 } });
    }
    const level = (value, words, dash, x) => {
      if (!known(value)) return;
      shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value, layer: "below", line: { color: muted, width: 1, dash } });
      annotations.push({ xref: "paper", x, y: value, xanchor: "right", yanchor: "bottom", showarrow: false, text: words, font: { size: 12, color: muted } });
    };
    level(data.chance[protect], "guessing", "dash", 1);
    if (protect === data.protect) level(data.ceiling, "allowed", "dot", 0.6);
    const axis = { gridcolor: line, zeroline: false, linecolor: muted, showline: true, ticks: "outside", tickcolor: muted, automargin: true };
    Plotly.react(plot, traces, {
      paper_bgcolor: page, plot_bgcolor: page, font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
      margin: { l: 56, r: 12, t: 10, b: 44, pad: 4 }, hovermode: "closest", shapes, annotations,
      xaxis: { ...axis, title: { text: data.of_answers ? "mean L1 distance of the answers from the network's" : "accuracy given up, percentage points", standoff: 6 }, nticks: narrow ? 5 : 9 },
      yaxis: { ...axis, title: { text: "leakage, worst case", standoff: 6 }, tickformat: protect === "pixels" ? "" : ".0%", rangemode: "tozero" },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      hoverlabel: { align: "left", bgcolor: colour("--panel"), bordercolor: muted, font: { color: ink, size: 12 } },
      ...(paper ? { width: 640 } : { autosize: true }),
    }, { responsive: true, displaylogo: false, displayModeBar: false });
    // The plot as a whole has a label; its parts, and Plotly's own drawing board, would be read out.
    document.querySelectorAll(".plot svg, #js-plotly-tester").forEach((svg) => svg.setAttribute("aria-hidden", "true"));
    return { seen, along };
  }

  /** The same box that a pointer brings up, for the keyboard. */
  function box(key) {
    plot.data.forEach((trace, curveNumber) => {
      const pointNumber = (trace.customdata || []).indexOf(key);
      if (pointNumber >= 0) Plotly.Fx.hover(plot, [{ curveNumber, pointNumber }]);
    });
  }

  function frontTable(seen, along) {
    const listed = along.some((s) => s.c === chosen) ? along : [...along, ...seen.filter((s) => s.c === chosen)];
    const held = document.activeElement && document.activeElement.dataset.key;
    document.querySelector("#front tbody").replaceChildren(...listed.map((s) => {
      const row = element("tr", "", s.c.key === data.recommended ? "reference" : ""), head = element("th");
      head.scope = "row";
      const button = element("button", s.c.title, "point");
      button.type = "button";
      button.dataset.key = s.c.key;
      head.append(button);
      if (s.c === chosen) head.append(element("small", data.recommended ? "recommended" : "nearest"));
      const who = element("td", s.worst.name + " ");
      [...new Set([...s.c.flags, ...s.worst.flags])].forEach((f) => who.append(flag(f), " "));
      row.append(head, valued(element("td", "", "n"), s.c.lost, points), valued(element("td", "", "n"), leaks(s.worst), number), who);
      return row;
    }));
    if (held) [...document.querySelectorAll(".point")].filter((b) => b.dataset.key === held).forEach((b) => b.focus());
  }

  function placeTable(seen) {
    const most = Math.max(...seen.map((s) => leaks(s.worst)[0]), 0) || 1;
    const lowest = (list) => list.reduce((a, b) => (!a || leaks(b.worst)[0] < leaks(a.worst)[0] ? b : a), null);
    document.querySelectorAll("#places [data-cut]:not(.out)").forEach((row) => {
      const here = seen.filter((s) => s.c.cut === row.dataset.cut), defended = here.filter((s) => s.c.defended);
      const kept = defended.filter((s) => s.c.kept);
      const picks = { undefended: here.find((s) => !s.c.defended), best: lowest(kept.length ? kept : defended) };
      for (const [kind, s] of Object.entries(picks)) {
        const cell = row.querySelector("." + kind + ".leak");
        if (!s) {
          cell.replaceChildren(element("span", "not tried", "null"));
          continue;
        }
        valued(cell, leaks(s.worst), number);
        cell.title = "worst attacker: " + s.worst.name;
        if (kind === "best") cell.append(element("small", s.c.words + ", " + change(s.c.lost[0])));
        const bar = element("span", "", "bar " + kind);
        bar.style.width = (100 * leaks(s.worst)[0]) / most + "%";
        bar.setAttribute("aria-hidden", "true");
        cell.append(bar);
      }
    });
  }

  const rows = [...document.querySelectorAll("#every tbody tr")];
  const ticked = (id) => document.getElementById(id).checked;
  function everyTable() {
    const worsts = every.map(worst), text = document.getElementById("with").value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      const c = every[row.dataset.c], a = c.attacks[row.dataset.a], isWorst = worsts[row.dataset.c] === a;
      const e = leaks(a), floor = a.floors[protect];
      const cell = valued(row.querySelector(".leakage"), e, number);
      cell.dataset.v = known(e[0]) ? e[0] : "";
      const guess = row.querySelector(".floor");
      guess.textContent = number(floor);
      guess.dataset.v = known(floor) ? floor : "";
      row.querySelector(".certificate").classList.toggle("elsewhere", protect !== data.protect);
      row.querySelector(".worst").hidden = !isWorst;
      const summary = [...row.cells].slice(0, -1).map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !granted(a) || (text && !summary.includes(text)) || (ticked("worst") && !isWorst)
        || (ticked("thorough") && row.dataset.thorough !== "yes") || (ticked("flagged") && !(c.flags.length + a.flags.length));
      count += !row.hidden;
    }
    document.getElementById("count").textContent = count + " of " + rows.length + " rows";
  }

  function say(seen, along) {
    const mark = seen.find((s) => s.c === chosen) || (chosen ? null : along[along.length - 1]);
    const about = chosen ? (data.recommended ? "the recommendation" : "the nearest setting") : mark ? mark.c.title : "";
    document.getElementById("said").textContent = !threats.size ? "Nobody is feared: choose at least one threat model."
      : !mark ? "None of these was tried on " + (about || "anything") + "."
      : "Worst attacker of " + about + ": " + mark.worst.name + ", " + number(leaks(mark.worst)[0]) + " (guessing " + number(guess(mark.worst)) + ").";
  }

  function show() {
    protect = choice.value;
    threats = new Set(boxes.filter((b) => b.checked).map((b) => b.value));
    const { seen, along } = draw(false);
    frontTable(seen, along);
    placeTable(seen);
    everyTable();
    say(seen, along);
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (button) button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        heads.forEach((h) => h.hasAttribute("aria-sort") && h.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => {
          const cell = row.cells[column];
          return "v" in cell.dataset ? (cell.dataset.v === "" ? null : Number(cell.dataset.v)) : cell.querySelector("span").textContent.trim();
        };
        const sorted = [...rows].sort((a, b) => {
          const [p, q] = [key(a), key(b)];
          if (p === null || q === null) return (p === null) - (q === null);
          const order = typeof p === "number" ? p - q : p.localeCompare(q);
          return up ? order : -order;
        });
        table.tBodies[0].append(...sorted);
      });
    });
  }

  [...boxes, choice].forEach((input) => input.addEventListener("change", show));
  for (const id of ["with", "worst", "thorough", "flagged"]) document.getElementById(id).addEventListener("input", everyTable);
  const front_ = document.getElementById("front");
  for (const kind of ["focusin", "click"]) {
    front_.addEventListener(kind, (e) => e.target.dataset && e.target.dataset.key && box(e.target.dataset.key));
  }
  front_.addEventListener("focusout", () => Plotly.Fx.unhover(plot));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(false));
  matchMedia("print").addEventListener("change", (e) => draw(e.matches));
  sortable(document.getElementById("every"));
  show();
  const current = document.querySelector("#places [aria-current]");
  if (current) { // in sight, however many cuts there are
    const around = current.closest(".scroll");
    around.scrollTop = current.offsetTop + current.offsetHeight - around.clientHeight;
  }
})();

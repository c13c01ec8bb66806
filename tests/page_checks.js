// What a browser knows about a page and Python cannot see. Each function is called by a test.
const luminance = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const colour = (text) => {
  const [r, g, b, a = 1] = (text.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  return [r, g, b, a];
};
const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));

function background(element) {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(colour(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
}

/** Texts that are drawn with less contrast than 4.5 to 1, with the ratio. */
function faint() {
  const found = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
    if (!text || e.closest("script, style, noscript") || !e.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(e), under = background(e.closest("svg") ? e.closest("svg").parentElement : e);
    const ink = over(colour(e.closest("svg") ? style.fill : style.color), under);
    const [dark, light] = [luminance(ink), luminance(under)].sort((a, b) => a - b);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < 4.5) found.add(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return [...found];
}

/** Where on the screen the point of a configuration is drawn. */
function point(key) {
  const plot = document.querySelector(".plot"), layout = plot._fullLayout, box = plot.getBoundingClientRect();
  for (const trace of plot.data) {
    const i = (trace.customdata || []).indexOf(key);
    if (i < 0) continue;
    const x = layout.xaxis.d2p(trace.x[i]) + layout.xaxis._offset, y = layout.yaxis.d2p(trace.y[i]) + layout.yaxis._offset;
    return [Math.round(box.left + x), Math.round(box.top + y), trace.x[i], trace.y[i]];
  }
  return null;
}

/** What has the focus, in words, and whether one sees that it has it. */
function focused() {
  const e = document.activeElement;
  if (e === document.body) return null;
  const style = getComputedStyle(e), name = e.value && e.type === "checkbox" ? e.value : (e.textContent || e.id).trim();
  const seen = e.checkVisibility({ visibilityProperty: true }) && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  return { what: e.tagName.toLowerCase(), id: e.id, name: name.slice(0, 60), region: e.getAttribute("role") === "region", seen };
}

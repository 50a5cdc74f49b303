// Token by token: chips shaded by a number, saliency, and the lens that reads every layer.

function shadedChip(text, rgb, lines, attributes = {}) {
  const joined = text === "";   // a byte of a character that is shown whole on the chip before it
  const chip = make(attributes.onclick ? "button" : "span", { ...attributes, type: attributes.onclick ? "button" : null, tabindex: 0, class: "chip " + (joined ? "joined " : "") + (attributes.class ?? "") },
    make("bdi", null, joined ? "·" : visible(text)));
  chip.style.background = css(rgb);
  chip.style.color = inkOn(rgb);
  return tip(chip, () => (joined ? [...lines(), [word("joined"), undefined]] : lines()));
}

sections.saliency = (section, memory) => {
  const methods = section.methods.map((one) => ({ ...one, values: unpack(one.values).at }));
  memory.method ??= 0;
  const frame = make("div", { class: "saliency" });
  const redraw = () => {
    const method = methods[memory.method], most = Math.max(1e-12, ...method.values.map(Math.abs));
    const signed = method.values.some((one) => one < 0);
    const shade = (value) => (signed ? tilt(value / most) : heat((value / most) ** 2));
    frame.replaceChildren(...[
      said(section.answer) ? make("p", { class: "answer" }, make("span", { class: "label" }, word("answer")), make("bdi", null, said(section.answer))) : null,
      make("div", { class: "group tabs", role: "group" }, methods.map((one, i) => make("button", { type: "button", "aria-pressed": String(i === memory.method), onclick: () => { memory.method = i; redraw(); } }, said(one.name)))),
      make("div", { class: "chips large" }, section.tokens.map((text, i) => shadedChip(text, shade(method.values[i]), () => [[visible(text), four(method.values[i], signed)]]))),
      signed ? make("p", { class: "hint" }, swatch(-1), word("against"), " ", swatch(1), word("for")) : null,
      said(method.about) ? make("p", { class: "remark" }, said(method.about)) : null,
      said(method.check) ? make("p", { class: "remark" }, said(method.check)) : null].filter(Boolean));
  };
  redraw();
  return frame;
};

// A token shows its spaces; a label of ours is running text.
const named = (label) => (typeof label === "string" ? visible(label) : said(label));

function swatch(share) {
  const box = make("i", { class: "swatch" });
  box.style.background = css(tilt(share));
  return box;
}

sections.lens = (section, memory) => {
  const packed = unpack(section.probabilities), [, , K] = packed.shape, n = section.tokens.length;
  const p = (layer, i, rank = 0) => packed.at[(layer * n + i) * K + rank];
  memory.column ??= section.chosen ?? n - 1;
  memory.layer ??= section.layers.length - 1;
  const frame = make("div", { class: "lens" });
  let scrolled = null;
  const redraw = () => {
    const cell = (layer, i) => {
      const rgb = heat(p(layer, i) ** 2);
      const chosen = layer === memory.layer && i === memory.column;
      const one = tip(make("button", { type: "button", class: "lens-cell", "aria-pressed": String(chosen), onclick: () => { memory.layer = layer; memory.column = i; redraw(); } },
        make("bdi", null, visible(section.best[layer][i][0]))), () => [[said(section.layers[layer]), undefined], [visible(section.best[layer][i][0]), four(p(layer, i))]]);
      one.style.background = css(rgb);
      one.style.color = inkOn(rgb);
      return make("td", null, one);
    };
    const rows = section.layers.map((_, layer) => layer).reverse().map((layer) =>
      make("tr", null, make("th", { scope: "row" }, said(section.layers[layer])), section.tokens.map((_, i) => cell(layer, i))));
    const table = make("div", { class: "scroll" }, make("table", { class: "lens-table" }, make("tbody", null, rows),
      make("tfoot", null, make("tr", null, make("th", null), section.tokens.map((one, i) => make("th", { scope: "col", class: i === memory.column ? "chosen" : null }, make("bdi", null, named(one))))))));
    table.addEventListener("scroll", () => { scrolled = table.scrollLeft; }, { passive: true });
    const digest = make("div", { class: "lens-detail" },
      make("h4", null, said(section.layers[memory.layer]), " · ", make("bdi", null, named(section.tokens[memory.column]))),
      make("div", { class: "bars narrow" }, section.best[memory.layer][memory.column].map((text, rank) => {
        const value = p(memory.layer, memory.column, rank), fill = make("span", { class: "bar" });
        fill.style.left = "0";
        fill.style.width = value * 100 + "%";
        return make("div", { class: "bar-row" }, make("span", { class: "bar-name token" }, make("bdi", null, visible(text))), make("span", { class: "track" }, fill), make("span", { class: "number" }, four(value)));
      })));
    frame.replaceChildren(make("p", { class: "hint" }, word("hint_lens")), make("div", { class: "lens-both" }, table, digest));
    // It has a width to scroll over only once it is on the page.
    requestAnimationFrame(() => { table.scrollLeft = scrolled ?? table.scrollWidth * (memory.column / n) - table.clientWidth / 2; });
  };
  redraw();
  return frame;
};

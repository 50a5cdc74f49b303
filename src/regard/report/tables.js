// Headline numbers, tables and bars.

const number = (cell) => (cell && cell.n !== undefined ? cell.n : null);

function decimals(cells) {
  if (cells.every((one) => number(one) === null || one.whole)) return 0;
  const sizes = cells.map(number).filter((one) => one).map(Math.abs);
  const largest = Math.max(...sizes, 0);
  const most = largest >= 1000 ? 0 : largest >= 100 ? 1 : largest >= 10 ? 2 : Math.min(...sizes, 1) < 0.1 ? 4 : 3;
  // What was rounded before it came here gets no digits that nobody measured.
  return Math.min(most, Math.max(...sizes.map((one) => (String(one).split(".")[1] || "").length), 0));
}

// A number that would round to 0 keeps its power of ten.
const grouped = (value, digits) => value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits ? short(value) :
  minus(value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));

sections.numbers = (section) => make("div", { class: "tiles" }, section.numbers.map((one) => {
  const value = number(one.value);
  const shown = value === null ? said(one.value) || "–" : grouped(value, decimals([one.value]));
  const tile = make("div", { class: "tile", tabindex: 0 }, make("div", { class: "label" }, said(one.label)),
    make("div", { class: "figure" }, make("bdi", null, shown), said(one.unit) ? make("small", null, said(one.unit)) : null),
    said(one.about) ? make("div", { class: "remark" }, said(one.about)) : null);
  return value === null ? tile : tip(tile, () => [[said(one.label), four(value)]]);
}));

sections.table = (section) => {
  const digits = section.columns.map((_, i) => decimals(section.rows.map((row) => row[i])));
  const numeric = section.columns.map((_, i) => section.rows.some((row) => number(row[i]) !== null));
  const shown = (cell, i) => {
    const value = number(cell);
    if (value === null) return make("td", { class: numeric[i] ? "number" : null }, make("bdi", null, said(cell) || (numeric[i] ? "–" : "")));
    return tip(make("td", { class: "number" }, grouped(value, cell.whole ? 0 : digits[i])), () => [[said(section.columns[i]), four(value)]]);
  };
  return make("div", { class: "scroll" }, make("table", null,
    section.columns.every((one) => !said(one)) ? null : make("thead", null, make("tr", null, section.columns.map((one, i) => make("th", { scope: "col", class: numeric[i] ? "number" : null }, said(one))))),
    make("tbody", null, section.rows.map((row, r) => make("tr", { class: section.marked.includes(r) ? "marked" : null }, row.map(shown))))));
};

sections.bars = (section) => {
  const all = section.bars.flatMap((one) => [one.value, one.low, one.high].map(number)).filter((one) => one !== null);
  const low = Math.min(0, ...all), high = Math.max(0, ...all), span = high - low || 1;
  const share = (value) => ((value - low) / span) * 100 + "%";
  const digits = decimals(section.bars.map((one) => one.value));
  const line = (one) => {
    const value = number(one.value), from = number(one.low), to = number(one.high);
    const bar = make("span", { class: "bar" }), spread = from === null || to === null ? null : make("span", { class: "whisker" });
    bar.style.left = share(Math.min(0, value ?? 0));
    bar.style.width = (Math.abs(value ?? 0) / span) * 100 + "%";
    if (spread) { spread.style.left = share(from); spread.style.width = ((to - from) / span) * 100 + "%"; }
    const row = make("div", { class: "bar-row" + (one.marked ? " marked" : ""), tabindex: 0 },
      make("span", { class: "bar-name" }, make("bdi", null, said(one.name))),
      make("span", { class: "track" }, bar, spread),
      make("span", { class: "number" }, value === null ? "–" : grouped(value, digits)));
    return tip(row, () => [[said(one.name), four(value) + (said(section.unit) ? " " + said(section.unit) : "")],
      ...(spread ? [[word("spread"), four(from) + " … " + four(to)]] : [])]);
  };
  return make("div", { class: "bars" }, section.bars.map(line), said(section.unit) ? make("p", { class: "remark" }, said(section.unit)) : null);
};

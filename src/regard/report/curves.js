// Lines over a common x, with bands, levels to hold them against, a log axis, and every value under the pointer.

sections.curves = (section, memory) => {
  const curves = section.curves.map((one, i) => ({
    name: one.name, x: unpack(one.x).at, y: unpack(one.y).at, low: unpack(one.low)?.at, high: unpack(one.high)?.at, colour: "c" + (i % 8),
  }));
  memory.hidden ??= new Set();
  const frame = make("div", { class: "curves" });
  const repaint = () => {
    const shown = curves.filter((_, i) => !memory.hidden.has(i));
    const positive = shown.every((one) => one.y.every((y) => !(y <= 0))) && section.levels.every((one) => one.value > 0);
    const legend = make("div", { class: "legend" },
      curves.map((one, i) => make("button", {
        type: "button", class: one.colour, "aria-pressed": String(!memory.hidden.has(i)),
        onclick: () => { memory.hidden.has(i) ? memory.hidden.delete(i) : memory.hidden.add(i); repaint(); },
      }, make("i"), make("bdi", null, said(one.name)))),
      section.levels.map((one) => make("span", { class: "level-name" }, make("i"), make("bdi", null, said(one.name) + " " + short(one.value)))),
      positive && shown.length ? make("button", { type: "button", class: "axis", "aria-pressed": String(Boolean(memory.log)), onclick: () => { memory.log = !memory.log; repaint(); } }, word("log_axis")) : null);
    frame.replaceChildren(legend, sized({ class: "plot" }, (width) => plot(section, shown, width, Boolean(memory.log) && positive)));
  };
  repaint();
  return [frame, make("p", { class: "hint" }, word("hint_curves"))];
};

function plot(section, curves, width, log) {
  const height = Math.round(Math.min(380, Math.max(220, width * 0.42)));
  const edge = { left: 58, right: 16, top: 12, bottom: 44 };
  const xs = extent(curves.flatMap((one) => [...one.x]));
  const ys = extent([...curves.flatMap((one) => [...one.y, ...(one.low ?? []), ...(one.high ?? [])]), ...section.levels.map((one) => one.value)]);
  const pad = (ys[1] - ys[0]) * 0.05 || Math.abs(ys[1]) * 0.05 || 1;
  const [bottom, top] = log ? [ys[0] * 0.95, ys[1] * 1.05] : [ys[0] - pad, ys[1] + pad];
  const scale = (value) => (log ? Math.log(value) : value);
  const px = (x) => edge.left + ((x - xs[0]) / (xs[1] - xs[0] || 1)) * (width - edge.left - edge.right);
  const py = (y) => height - edge.bottom - ((scale(y) - scale(bottom)) / (scale(top) - scale(bottom) || 1)) * (height - edge.top - edge.bottom);
  const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, tabindex: 0, role: "img", "aria-label": said(section.title) });
  for (const y of log ? logTicks(bottom, top) : ticks(bottom, top, Math.max(3, Math.floor(height / 55)))) {
    picture.append(draw("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: py(y), y2: py(y) }),
      draw("text", { x: edge.left - 8, y: py(y) + 4, "text-anchor": "end" }, short(y)));
  }
  for (const x of ticks(xs[0], xs[1], Math.max(2, Math.floor(width / 110)))) {
    picture.append(draw("line", { class: "tick", x1: px(x), x2: px(x), y1: height - edge.bottom, y2: height - edge.bottom + 5 }),
      draw("text", { x: px(x), y: height - edge.bottom + 19, "text-anchor": "middle" }, short(x)));
  }
  picture.append(draw("line", { class: "axis-line", x1: edge.left, x2: width - edge.right, y1: height - edge.bottom, y2: height - edge.bottom }),
    draw("text", { class: "axis-name", x: width - edge.right, y: height - 6, "text-anchor": "end" }, said(section.x)),
    draw("text", { class: "axis-name", x: 14, y: edge.top, "text-anchor": "end", transform: `rotate(-90 14 ${edge.top})` }, said(section.y)));
  for (const level of section.levels) picture.append(draw("line", { class: "level", x1: edge.left, x2: width - edge.right, y1: py(level.value), y2: py(level.value) }));
  for (const one of curves) {
    if (one.low && one.high) picture.append(draw("path", { class: "band " + one.colour, d: band(one, px, py) }));
    picture.append(draw("path", { class: "line " + one.colour, d: trace(one.x, one.y, px, py) }));
    if (one.x.length === 1) picture.append(draw("circle", { class: "dot " + one.colour, cx: px(one.x[0]), cy: py(one.y[0]), r: 4 }));
  }
  const marks = draw("g");
  picture.append(marks);
  follow(picture, marks, section, curves, px, py, height, edge);
  return picture;
}

function follow(picture, marks, section, curves, px, py, height, edge) {
  const stops = [...new Set(curves.flatMap((one) => [...one.x]))].sort((a, b) => a - b);
  let at = -1;
  const show = (x, cx, cy) => {
    const lines = [[said(section.x), short(x)]];
    marks.replaceChildren(draw("line", { class: "cursor-line", x1: px(x), x2: px(x), y1: edge.top, y2: height - edge.bottom }));
    for (const one of curves) {
      const i = one.x.indexOf(x);
      if (i < 0 || !Number.isFinite(one.y[i])) continue;
      marks.append(draw("circle", { class: "dot " + one.colour, cx: px(x), cy: py(one.y[i]), r: 4 }));
      lines.push([said(one.name), four(one.y[i]) + (one.low && one.high ? `  (${four(one.low[i])} … ${four(one.high[i])})` : "")]);
    }
    showCard(lines, cx, cy);
  };
  const pointed = (event) => {
    if (!stops.length) return;
    const box = picture.getBoundingClientRect();
    at = nearest(stops, (x) => Math.abs(px(x) - (event.clientX - box.left)));
    show(stops[at], event.clientX, event.clientY);
  };
  picture.addEventListener("pointermove", pointed);
  picture.addEventListener("pointerdown", pointed);
  const leave = () => { marks.replaceChildren(); hideCard(); };
  picture.addEventListener("pointerleave", leave);
  picture.addEventListener("blur", leave);
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !stops.length) return;
    event.preventDefault();
    at = Math.min(stops.length - 1, Math.max(0, at + step));
    const box = picture.getBoundingClientRect();
    show(stops[at], box.left + px(stops[at]), box.top + edge.top);
  });
}

function nearest(values, distance) {
  let best = 0;
  values.forEach((one, i) => { if (distance(one) < distance(values[best])) best = i; });
  return best;
}

function trace(x, y, px, py) {
  let path = "", pen = "M";
  for (let i = 0; i < x.length; i++) {
    if (!Number.isFinite(y[i])) { pen = "M"; continue; }
    path += `${pen}${px(x[i]).toFixed(1)} ${py(y[i]).toFixed(1)}`;
    pen = "L";
  }
  return path;
}

function band(one, px, py) {
  const points = [...one.x].map((x, i) => [x, one.low[i], one.high[i]]).filter(([, a, b]) => Number.isFinite(a) && Number.isFinite(b));
  const there = points.map(([x, , high]) => `${px(x).toFixed(1)} ${py(high).toFixed(1)}`);
  const back = points.reverse().map(([x, low]) => `${px(x).toFixed(1)} ${py(low).toFixed(1)}`);
  return there.length ? "M" + [...there, ...back].join("L") + "Z" : "";
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const one of values) if (Number.isFinite(one)) { low = Math.min(low, one); high = Math.max(high, one); }
  return low > high ? [0, 1] : [low, high];
}

function ticks(low, high, count) {
  const raw = (high - low || 1) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((one) => one * power >= raw) * power;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const one of [1, 2, 5]) { const value = one * 10 ** power; if (value >= low && value <= high) found.push(value); }
  return found.length > 1 ? found : ticks(low, high, 4).filter((one) => one > 0);
}

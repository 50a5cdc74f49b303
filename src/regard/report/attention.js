// Attention: every layer and head at a glance, one map in full with its numbers, and what a chosen token attends to.

sections.attention = (section, memory) => {
  const model = {
    ...section,
    heads: section.heads.map((one) => ({ ...one, at: unpack(one.weights)?.at ?? null, effect: number(one.effect) })),
    rollout: unpack(section.rollout)?.at ?? null,
    self: section.queries.length === section.keys.length && section.queries.every((one, i) => one === section.keys[i]),
  };
  memory.index ??= Math.max(0, strongest(model.heads));
  memory.view ??= "head";
  memory.query ??= section.queries.length - 1;
  const first = model.heads[memory.index]?.at?.subarray(memory.query * section.keys.length, (memory.query + 1) * section.keys.length);
  memory.key ??= first ? first.indexOf(Math.max(...first)) : 0;
  memory.filter ??= null;
  const frame = make("div", { class: "attention" });
  const redraw = () => frame.replaceChildren(filters(model, memory, redraw), overview(model, memory, redraw), detail(model, memory, redraw));
  redraw();
  return frame;
};

const strongest = (heads) => heads.reduce((best, one, i) =>
  (one.at && (best < 0 || Math.abs(one.effect ?? 0) > Math.abs(heads[best].effect ?? 0)) ? i : best), -1);

const patternOf = (model, name) => model.patterns.find((one) => one.name === name);

function filters(model, memory, redraw) {
  const count = (name) => model.heads.filter((one) => one.pattern === name).length;
  const chip = (name, text, many) => make("button", {
    type: "button", "aria-pressed": String(memory.filter === name), onclick: () => { memory.filter = name; redraw(); },
  }, text, make("small", null, String(many)));
  return make("div", { class: "filters", role: "group" }, chip(null, word("all_patterns"), model.heads.length),
    model.patterns.filter((one) => count(one.name)).map((one) => chip(one.name, said(one.label), count(one.name))),
    count(null) ? chip("", word("no_pattern"), count(null)) : null);
}

// ---- all heads --------------------------------------------------------------------------------------------------

function overview(model, memory, redraw) {
  const layers = [...new Set(model.heads.map((one) => one.layer))];
  const most = Math.max(1e-12, ...model.heads.map((one) => Math.abs(one.effect ?? 0)));
  const kept = (one) => memory.filter === null || (memory.filter === "" ? one.pattern === null : one.pattern === memory.filter);
  const small = (one) => {
    const index = model.heads.indexOf(one);
    const bar = one.effect === null ? null : make("i", { class: "effect" });
    if (bar) {
      bar.style.width = Math.max(2, (Math.abs(one.effect) / most) * 100) + "%";
      bar.style.background = css(tilt(one.effect < 0 ? 1 : -1));
    }
    const button = make("button", {
      type: "button", class: "thumb" + (kept(one) ? "" : " dimmed"), "aria-pressed": String(index === memory.index && memory.view !== "rollout"),
      "aria-label": headName(one), onclick: () => { memory.index = index; memory.view = "head"; redraw(); },
    }, one.at ? painted(one.at, model.queries.length, model.keys.length) : make("span", { class: "unkept" }), bar);
    return tip(button, () => [[headName(one), undefined], [one.pattern ? said(patternOf(model, one.pattern)?.label) : word("no_pattern"), one.pattern ? four(one.scores[one.pattern]) : ""],
      ...(one.effect === null ? [] : [[said(model.effect), four(one.effect, true)]])]);
  };
  return make("div", { class: "scroll" }, make("div", { class: "overview" }, layers.map((layer) =>
    make("div", { class: "layer-row" }, make("span", { class: "layer-name" }, word("layer", { layer })),
      model.heads.filter((one) => one.layer === layer).map(small)))));
}

const headName = (one) => word("layer_head", one);

function painted(values, rows, columns) {
  const canvas = make("canvas", { width: columns, height: rows });
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  values.forEach((value, i) => image.data.set([...heat(value), 255], i * 4));
  context.putImageData(image, 0, 0);
  return canvas;
}

// ---- one map ----------------------------------------------------------------------------------------------------

function detail(model, memory, redraw) {
  const one = model.heads[memory.index], same = model.heads.filter((other) => other.layer === one?.layer && other.at);
  const views = [["head", one ? headName(one) : ""], ...(same.length > 1 ? [["mean", word("mean", { layer: one.layer })]] : []), ...(model.rollout ? [["rollout", word("rollout")]] : [])];
  if (!views.some(([view]) => view === memory.view)) memory.view = "head";
  const values = memory.view === "rollout" ? model.rollout : memory.view === "mean" ? averaged(same) : one?.at;
  const tabs = make("div", { class: "group tabs", role: "group" }, views.map(([view, text]) =>
    make("button", { type: "button", "aria-pressed": String(view === memory.view), onclick: () => { memory.view = view; redraw(); } }, text)));
  const readout = make("p", { class: "readout", role: "status" });
  const chips = make("div", { class: "reading" });
  const tell = () => {
    if (!values) return;
    readout.replaceChildren(make("bdi", { class: "token" }, visible(model.queries[memory.query])), " → ", make("bdi", { class: "token" }, visible(model.keys[memory.key])),
      make("b", null, four(values[memory.query * model.keys.length + memory.key])));
    chips.replaceChildren(...attended(model, memory, values, tell, redraw));
  };
  const map = values ? sized({ class: "map" }, (width) => grid(model, memory, values, width, tell)) : make("p", { class: "remark" }, word("not_kept"));
  tell();
  return [make("div", { class: "detail" }, make("div", { class: "picture" }, tabs, map, readout, values ? legend() : null), facts(model, memory, one)), chips]
    .reduce((box, child) => (box.append(child), box), make("div"));
}

function averaged(heads) {
  const mean = new Float32Array(heads[0].at.length);
  for (const one of heads) one.at.forEach((value, i) => { mean[i] += value / heads.length; });
  return mean;
}

function facts(model, memory, one) {
  const about = memory.view === "rollout" ? word("rollout_about") : memory.view === "mean" ? word("mean_about") : null;
  if (about) return make("aside", { class: "side" }, make("p", null, about), make("p", { class: "note caution" }, word("not_importance")));
  if (!one) return make("aside", { class: "side" });
  const pattern = patternOf(model, one.pattern);
  const scores = model.patterns.filter((each) => each.name in one.scores).map((each) => {
    const fill = make("span", { class: "bar" });
    fill.style.left = "0";
    fill.style.width = Math.min(1, Math.max(0, one.scores[each.name])) * 100 + "%";
    return tip(make("div", { class: "bar-row" + (each.name === one.pattern ? " marked" : ""), tabindex: 0 }, make("span", { class: "bar-name" }, said(each.label)),
      make("span", { class: "track" }, fill), make("span", { class: "number" }, one.scores[each.name].toFixed(2))), () => [[said(each.label), four(one.scores[each.name])], [said(each.about), undefined]]);
  });
  return make("aside", { class: "side" },
    make("h4", null, pattern ? said(pattern.label) : word("no_pattern")), pattern ? make("p", null, said(pattern.about)) : null,
    make("div", { class: "bars narrow" }, scores),
    make("div", { class: "switched" }, make("b", { class: one.effect === null ? "" : one.effect < 0 ? "lost" : "gained" }, one.effect === null ? "–" : four(one.effect, true)),
      make("span", null, one.effect === null ? word("effect_none") : said(model.effect))),
    make("p", { class: "note caution" }, word("not_importance")));
}

function legend() {
  const bar = make("canvas", { width: 160, height: 1 }), context = bar.getContext("2d");
  for (let i = 0; i < 160; i++) { context.fillStyle = css(heat((i / 159) ** 2)); context.fillRect(i, 0, 1, 1); }
  const marks = make("div", { class: "scale-marks" }, [0, 0.05, 0.25, 0.5, 1].map((one) => {
    const mark = make("span", null, String(one));
    mark.style.left = Math.sqrt(one) * 100 + "%";
    return mark;
  }));
  return make("div", { class: "scale" }, make("span", { class: "label" }, word("scale")), make("div", { class: "scale-bar" }, bar, marks));
}

// Row and column names, cells, and a frame around the chosen cell, all on one canvas: a map of any length stays one element.
function grid(model, memory, values, width, tell) {
  const T = model.queries.length, S = model.keys.length;
  const style = getComputedStyle(document.documentElement), font = '12px system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif';
  const measure = document.createElement("canvas").getContext("2d");
  measure.font = font;
  const cut = (text) => { const all = [...visible(text)]; return all.length > 12 ? all.slice(0, 11).join("") + "…" : all.join(""); };
  const rows = model.queries.map(cut), columns = model.keys.map(cut);
  const wide = (texts) => Math.min(110, 12 + Math.max(14, ...texts.map((one) => measure.measureText(one).width)));
  const left = wide(rows), above = wide(columns);
  const cell = Math.max(S > 96 ? 6 : 13, Math.min(34, Math.floor((width - left - 2) / S)));
  const ratio = Math.max(1, devicePixelRatio || 1), total = [left + cell * S + 2, above + cell * T + 2];
  const canvas = make("canvas", { width: Math.ceil(total[0] * ratio), height: Math.ceil(total[1] * ratio), tabindex: 0, role: "img", "aria-label": word("hint_map") });
  canvas.style.width = total[0] + "px";
  canvas.style.height = total[1] + "px";
  const context = canvas.getContext("2d"), ink = style.getPropertyValue("--ink"), soft = style.getPropertyValue("--soft"), accent = style.getPropertyValue("--accent");
  context.scale(ratio, ratio);
  const paint = () => {
    context.clearRect(0, 0, ...total);
    context.font = font;
    context.textBaseline = "middle";
    const every = Math.ceil(13 / cell);
    rows.forEach((text, t) => {
      if (t % every && t !== memory.query) return;
      context.textAlign = "right";
      context.fillStyle = t === memory.query ? accent : soft;
      context.fillText(text, left - 6, above + (t + 0.5) * cell);
    });
    columns.forEach((text, s) => {
      if (s % every && s !== memory.key) return;
      context.save();
      context.translate(left + (s + 0.5) * cell, above - 6);
      context.fillStyle = s === memory.key ? accent : soft;
      if ([...text].length === 1) { context.textAlign = "center"; context.fillText(text, 0, -7); }
      else { context.rotate(-Math.PI / 2); context.textAlign = "left"; context.fillText(text, 0, 0); }
      context.restore();
    });
    const gap = cell > 10 ? 1 : 0;
    for (let t = 0; t < T; t++) for (let s = 0; s < S; s++) {
      context.fillStyle = css(heat(values[t * S + s]));
      context.fillRect(left + s * cell, above + t * cell, cell - gap, cell - gap);
    }
    context.strokeStyle = ink;
    context.lineWidth = 2;
    context.strokeRect(left + memory.key * cell - 0.5, above + memory.query * cell - 0.5, cell, cell);
  };
  const select = (t, s, x, y) => {
    memory.query = t; memory.key = s;
    paint(); tell();
    if (x !== undefined) showCard([[`${visible(model.queries[t])} → ${visible(model.keys[s])}`, four(values[t * S + s])]], x, y);
  };
  const pointed = (event) => {
    const box = canvas.getBoundingClientRect();
    const s = Math.floor((event.clientX - box.left - left) / cell), t = Math.floor((event.clientY - box.top - above) / cell);
    if (s >= 0 && t >= 0 && s < S && t < T) select(t, s, event.clientX, event.clientY); else hideCard();
  };
  canvas.addEventListener("pointermove", pointed);
  canvas.addEventListener("pointerdown", pointed);
  canvas.addEventListener("pointerleave", hideCard);
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    select(Math.min(T - 1, Math.max(0, memory.query + step[0])), Math.min(S - 1, Math.max(0, memory.key + step[1])));
  });
  paint();
  return canvas;
}

// ---- what one token attends to ----------------------------------------------------------------------------------

function attended(model, memory, values, tell, redraw) {
  const S = model.keys.length, row = (s) => values[memory.query * S + s];
  const choice = (t) => { memory.query = t; redraw(); };
  const shaded = (s) => shadedChip(model.keys[s], heat(row(s)), () => [[`${visible(model.queries[memory.query])} → ${visible(model.keys[s])}`, four(row(s))]],
    model.self ? { onclick: () => choice(s), class: s === memory.query ? "chosen" : null } : {});
  const from = make("div", { class: "chips" }, model.queries.map((text, t) => make("button", { type: "button", class: "chip plain", "aria-pressed": String(t === memory.query), onclick: () => choice(t) }, make("bdi", null, visible(text)))));
  return [make("p", { class: "hint" }, word("hint_chips")),
    ...(model.self ? [] : [make("div", { class: "label" }, word("from")), from, make("div", { class: "label" }, word("to"))]),
    make("div", { class: "chips" }, model.keys.map((_, s) => shaded(s)))];
}

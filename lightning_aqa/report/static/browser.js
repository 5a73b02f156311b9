"use strict";
// The browser: a table of all clips, of the pairs ranked wrongly, of the systems, or of two variants clip by clip; one row is open at a time.

(() => {
  const root = find("#browser");
  if (!root) return;
  const data = JSON.parse(find("#data").textContent);
  const PAGE = 25;
  const state = { mode: "clips", page: 0, open: null, sort: { clips: ["size", "descending"], pairs: ["gap", "descending"],
                  systems: ["size", "descending"], two: ["gap", "descending"] } };
  const chosen = (name) => find(`[name="${name}"]`, root)?.value ?? "";
  const [number, signed] = [(value) => plainNumber(value), (value) => withSign(value)];

  // Rows: plain objects with what the columns show.

  const prefix = commonPrefix(data.ids);
  const short = (id) => (prefix ? `…\u2060${id.slice(prefix.length)}` : id);

  // What all ids begin with, up to a separator, is not repeated in every row.
  function commonPrefix(ids) {
    let [length, first] = [ids.length > 1 ? ids[0].length : 0, ids[0] ?? ""];
    for (const id of ids) while (!id.startsWith(first.slice(0, length))) length -= 1;
    while (length && !"-_/ ".includes(first[length - 1])) length -= 1;
    return length > 5 ? first.slice(0, length) : "";
  }

  const axisOf = () => Number(chosen("axis"));
  const variantOf = () => Number(chosen("variant"));
  const score = (clip, axis = axisOf(), variant = variantOf()) => data.scores[variant][axis][clip];
  const target = (clip, axis = axisOf()) => data.targets[axis][clip];
  const systemOf = (clip) => data.systems[data.system[clip]];
  const domainOf = (clip) => data.domains[data.domain[clip]];

  function clipRow(clip) {
    const [rated, predicted] = [target(clip), score(clip)];
    const error = rated === null || predicted === null ? null : predicted - rated;
    return { key: `c${clip}`, clips: [clip], id: data.ids[clip], system: systemOf(clip), domain: domainOf(clip), rated, predicted,
             error, size: error === null ? null : Math.abs(error), prompt: data.prompts[clip] ?? "",
             sound: clip in data.media ? 2 : data.paths[clip] ? 1 : 0 };
  }

  function pairRow([better, worse]) {
    return { key: `p${better}-${worse}`, clips: [better, worse], id: data.ids[better], other: data.ids[worse],
             gap: target(better) - target(worse), slip: score(worse) - score(better),
             rated: target(better), ratedOther: target(worse), predicted: score(better), predictedOther: score(worse),
             sound: [better, worse].every((clip) => clip in data.media) ? 2 : 0 };
  }

  const againstOf = () => Number(chosen("against") || 0);

  // Two variants: above zero the clip is the one that B knows better.
  function twoRow(clip) {
    const [rated, scoreA, scoreB] = [target(clip), score(clip), score(clip, axisOf(), againstOf())];
    const [sizeA, sizeB] = [scoreA, scoreB].map((of) => of === null || rated === null ? null : Math.abs(of - rated));
    return { ...clipRow(clip), key: `t${clip}`, scoreA, scoreB, sizeA, sizeB, gap: sizeA === null || sizeB === null ? null : sizeA - sizeB };
  }

  const COLUMNS = {
    clips: [["id", "Clip"], ["system", "System"], ["domain", "Domain"], ["rated", "Rated", "n"], ["predicted", "Predicted", "n"],
            ["error", "Error", "n"], ["size", "|Error|", "n"], ["sound", "Sound"], ["prompt", "Prompt"]],
    pairs: [["id", "Rated better"], ["other", "Rated worse"], ["gap", "Gap of ratings", "n"], ["slip", "Gap of scores", "n"],
            ["rated", "Rated, better", "n"], ["ratedOther", "Rated, worse", "n"], ["predicted", "Predicted, better", "n"],
            ["predictedOther", "Predicted, worse", "n"], ["sound", "Sound"]],
    systems: [["name", "System"], ["n", "Clips", "n"], ["rated", "Rated", "n"], ["predicted", "Predicted", "n"],
              ["error", "Error", "n"], ["size", "|Error|", "n"]],
    two: [["id", "Clip"], ["system", "System"], ["domain", "Domain"], ["rated", "Rated", "n"], ["scoreA", "A", "n"], ["scoreB", "B", "n"],
          ["sizeA", "|Error| of A", "n"], ["sizeB", "|Error| of B", "n"], ["gap", "A − B", "n"], ["sound", "Sound"]],
  };
  const isShown = ([name]) => !(name === "domain" && data.domains.length < 2) && !(name === "system" && data.systems.length < 2)
    && !(name === "prompt" && !data.prompts.some(Boolean));

  function allows(clip) {
    const [system, domain, words] = [chosen("system"), chosen("domain"), chosen("search").trim().toLowerCase()];
    const text = `${data.ids[clip]} ${systemOf(clip)} ${data.prompts[clip] ?? ""}`.toLowerCase();
    return (!system || systemOf(clip) === system) && (!domain || domainOf(clip) === domain) && words.split(/\s+/).every((word) => text.includes(word));
  }

  function rows() {
    if (state.mode === "pairs") {
      return data.pairs[variantOf()][axisOf()].filter((pair) => pair.some(allows)).map(pairRow);
    }
    const clips = data.ids.map((_, clip) => clip).filter(allows);
    if (state.mode === "two") return clips.map(twoRow);
    if (state.mode === "systems") {
      return meansOfSystems(clips, systemOf, (clip) => target(clip), (clip) => score(clip), data.quantiles, data.axes[axisOf()].scale);
    }
    const side = chosen("side");
    return clips.map(clipRow)
      .filter((row) => !side || (row.error !== null && (side === "over" ? row.error > 0 : row.error < 0)));
  }

  // The table

  function header() {
    const [name, order] = state.sort[state.mode];
    return make("tr", {}, ...COLUMNS[state.mode].filter(isShown).map(([column, title, kind]) => {
      const button = make("button", { type: "button", class: "sort" }, title);
      const cell = make("th", { scope: "col", class: kind ?? null, "aria-sort": column === name ? order : null }, button);
      button.addEventListener("click", () => {
        const isNumber = kind === "n" || column === "sound";
        state.sort[state.mode] = [column, nextOrder(cell, isNumber)];
        state.page = 0;
        draw();
        findAll("thead button", root)[COLUMNS[state.mode].filter(isShown).findIndex(([each]) => each === column)].focus();
      });
      return cell;
    }));
  }

  const SOUND = ["–", "file", "in page"];
  const SHOW = { error: signed, rated: number, predicted: number, size: number, gap: number, slip: number, ratedOther: number,
                 predictedOther: number, id: short, other: short, scoreA: number, scoreB: number, sizeA: number, sizeB: number, sound: (value) => SOUND[value], prompt: (value) => make("span", { title: value }, value) };

  // A mean has its interval below it; a system leads to its clips.
  function withEnds(value, ends) {
    const between = ends ? `[${number(ends[0])}, ${number(ends[1])}]` : "";
    return make("td", { class: "n" }, number(value), make("span", { class: "ci" }, between));
  }

  function systemLine(row) {
    const button = make("button", { type: "button", class: "open" }, row.name);
    button.addEventListener("click", () => {
      find('[name="system"]', root).value = row.name;
      [state.mode, state.page] = ["clips", 0];
      draw();
    });
    return make("tr", {}, make("th", { scope: "row" }, button), make("td", { class: "n" }, String(row.n)), withEnds(row.rated, row.ratedEnds),
      withEnds(row.predicted, row.predictedEnds), make("td", { class: "n" }, signed(row.error)), make("td", { class: "n" }, number(row.size)));
  }

  function line(row) {
    if (state.mode === "systems") return systemLine(row);
    const isOpen = state.open === row.key;
    const element = make("tr", { class: isOpen ? "chosen" : null, "data-key": row.key });
    const SIGNED = state.mode === "two" ? { gap: signed } : {};
    for (const [column, , kind] of COLUMNS[state.mode].filter(isShown)) {
      const value = (SIGNED[column] ?? SHOW[column] ?? String)(row[column]);
      if (column !== "id") { element.append(make("td", { class: kind ?? column }, value)); continue; }
      const button = make("button", { type: "button", class: "open", title: row.id, "aria-expanded": String(isOpen) }, value);
      button.addEventListener("click", () => {
        state.open = isOpen ? null : row.key;
        draw();
        find(`tr[data-key="${row.key}"] button.open`, root)?.focus();
      });
      element.append(make("th", { scope: "row" }, button));
    }
    return element;
  }

  function draw() {
    const [name, order] = state.sort[state.mode];
    const kind = COLUMNS[state.mode].find(([column]) => column === name)[2];
    const listed = rows();
    find(".picture", root).replaceChildren(...(state.mode === "two" ? pictureOfTwo(listed) : []));
    const all = sortBy(listed, (row) => row[name], kind === "n" || name === "sound", order);
    const last = Math.max(0, Math.ceil(all.length / PAGE) - 1);
    state.page = Math.min(state.page, last);
    const shown = all.slice(state.page * PAGE, (state.page + 1) * PAGE);
    const lines = shown.flatMap((row) => row.key === state.open ? [line(row), detail(row)] : [line(row)]);
    find("thead", root).replaceChildren(header());
    find("tbody", root).replaceChildren(...lines);
    const range = all.length ? `${state.page * PAGE + 1}–${state.page * PAGE + shown.length} of ${all.length}` : "none";
    find(".count", root).textContent = `${{ pairs: "Pairs", systems: "Systems" }[state.mode] ?? "Clips"} ${range}`;
    find('[data-go="-1"]', root).disabled = state.page === 0;
    find('[data-go="1"]', root).disabled = state.page === last;
    for (const label of findAll("[data-only]", root)) label.hidden = !label.dataset.only.split(" ").includes(state.mode);
    for (const tab of findAll("[data-mode]", root)) tab.setAttribute("aria-pressed", String(tab.dataset.mode === state.mode));
  }

  // An open row: player, spectrogram with the scores of frames, prompt, ratings.

  function detail(row) {
    const width = COLUMNS[state.mode].filter(isShown).length;
    const inside = make("div", { class: row.clips.length > 1 ? "pair" : "single" }, ...row.clips.map(card));
    return make("tr", { class: "chosen" }, make("td", { class: "inside", colspan: width }, make("div", { class: "detail" }, inside)));
  }

  function card(clip) {
    const tags = [systemOf(clip), domainOf(clip)].filter(Boolean).flatMap((text) => [" ", make("span", { class: "tag" }, text)]);
    const prompt = data.prompts[clip] ? make("blockquote", {}, data.prompts[clip]) : null;
    return make("div", { class: "card" }, make("h4", {}, data.ids[clip], ...tags), make("div", {}, ...sound(clip)), make("div", {}, prompt, scores(clip)));
  }

  function sound(clip) {
    const [media, path] = [data.media[clip], data.paths[clip]];
    if (!media && !path) return [make("p", { class: "note" }, "No audio: the file of this clip is not known or not there.")];
    const player = make("audio", { controls: true, preload: media ? "metadata" : "none", src: media ? media.sound : path,
                                   "aria-label": `Play ${data.ids[clip]}` });
    if (!media) {
      const gone = make("p", { class: "note", hidden: true }, `The file is not where it was when this page was written: ${decodeURIComponent(path)}`);
      player.addEventListener("error", () => { gone.hidden = false; });
      return [player, gone];
    }
    const head = make("div", { class: "playhead", hidden: true });
    const picture = make("div", { class: "sound" }, make("img", { src: media.picture, alt: `Spectrogram of ${data.ids[clip]}` }), frames(clip), head);
    player.addEventListener("timeupdate", () => {
      head.hidden = false;
      head.style.left = `${100 * Math.min(1, player.currentTime / media.seconds)}%`;
    });
    const told = `0–${(media.top / 1000).toFixed(0)} kHz (mel), ${media.seconds.toFixed(1)} s${media.cut ? ", the beginning of a longer clip" : ""}; `
      + (media.lossless ? "as in the file, mono" : "MP3, mono: a lossy copy")
      + (data.frames[clip] ? `; line: ${data.axes[axisOf()].name} of each frame, bottom to top of its scale` : "");
    return [picture, player, make("p", { class: "note" }, told)];
  }

  function frames(clip) {
    const values = data.frames[clip]?.[axisOf()];
    if (!values) return null;
    const [low, high] = data.axes[axisOf()].scale;
    const points = values.map((value, i) => `${(100 * (i + 0.5)) / values.length} ${100 - (100 * (value - low)) / (high - low)}`);
    const svg = drawn("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true", class: "frames" });
    svg.append(drawn("polyline", { points: points.join(" "), fill: "none", stroke: "var(--c1)", "stroke-width": 2, "vector-effect": "non-scaling-stroke" }));
    return svg;
  }

  function strip(clip, axis) {
    const ratings = data.ratings?.[axis]?.[clip];
    if (!ratings) return "";
    const [low, high] = data.axes[axis].scale;
    const counts = new Map();
    for (const value of ratings) counts.set(value, (counts.get(value) ?? 0) + 1);
    const [most, told] = [Math.max(...counts.values()), [...counts].map(([value, count]) => `${count} times ${value}`).join(", ")];
    const svg = drawn("svg", { viewBox: "0 0 112 24", class: "strip c0", role: "img", "aria-label": `Ratings: ${told}` });
    const title = drawn("title", {});
    title.textContent = told;
    svg.append(title, drawn("path", { d: "M0 23.5H112", class: "grid" }));
    for (const [value, count] of counts) {
      const [x, height] = [4 + (104 * (value - low)) / (high - low), (22 * count) / most];
      svg.append(drawn("rect", { x: x - 3, y: 23 - height, width: 6, height, fill: "currentColor" }));
    }
    return svg;
  }

  function scores(clip) {
    const hasRatings = Boolean(data.ratings);
    const head = ["", "rated", "predicted", "error", ...(hasRatings ? ["ratings"] : [])];
    const lines = data.axes.map((axis, a) => {
      const [rated, predicted] = [target(clip, a), score(clip, a)];
      const error = rated === null || predicted === null ? null : predicted - rated;
      return make("tr", {}, make("th", { scope: "row" }, axis.title), make("td", { class: "n" }, number(rated)), make("td", { class: "n" }, number(predicted)),
        make("td", { class: "n" }, signed(error)), hasRatings ? make("td", {}, strip(clip, a)) : null);
    });
    const top = make("thead", {}, make("tr", {}, ...head.map((text, i) => make("th", { scope: "col", class: i && i < 4 ? "n" : null }, text))));
    return make("div", { class: "scroll" }, make("table", {}, top, make("tbody", {}, ...lines)));
  }

  // All rows that are listed, as a file: the columns shown, systems with the ends of their intervals.

  function asCsv() {
    const columns = COLUMNS[state.mode].filter(isShown);
    const ends = state.mode === "systems" ? ["ratedEnds", "predictedEnds"] : [];
    const quoted = (value) => /[",\n\r]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? "");
    const head = [...columns.map(([, title]) => title), ...ends.flatMap((name) => [`${name.replace("Ends", "")} low`, `${name.replace("Ends", "")} high`])];
    const lines = rows().map((row) => [...columns.map(([name]) => name === "sound" ? SOUND[row[name]] : row[name]),
      ...ends.flatMap((name) => row[name] ?? ["", ""])]);
    return [head, ...lines].map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
  }

  function save() {
    const address = URL.createObjectURL(new Blob([asCsv()], { type: "text/csv" }));
    make("a", { href: address, download: `${state.mode}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  // What the reader does

  for (const field of findAll("select, input", root)) {
    field.addEventListener(field.type === "search" ? "input" : "change", () => { state.page = 0; draw(); });
  }
  for (const tab of findAll("[data-mode]", root)) {
    tab.addEventListener("click", () => { state.mode = tab.dataset.mode; state.page = 0; state.open = null; draw(); });
  }
  for (const button of findAll("[data-go]", root)) {
    button.addEventListener("click", () => { state.page += Number(button.dataset.go); draw(); });
  }
  find("[data-save]", root).addEventListener("click", save);
  draw();
})();

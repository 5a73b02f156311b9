"use strict";
// Each variant against each; the means of systems; and the picture of two variants clip by clip.

function drawn(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const plainNumber = (value, digits = 2) => value === null || value === undefined ? "–" : value.toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "−");
const withSign = (value, digits = 2) => (Number(value?.toFixed(digits)) > 0 ? "+" : "") + plainNumber(value, digits);

(() => {
  const root = find("#pairwise");
  if (!root) return;
  const data = JSON.parse(find("#pairs-data").textContent);
  const count = data.names.length;
  const chosen = (name) => find(`[name="${name}"]`, root).value;

  // The pairs are those of the upper triangle; below it a pair is turned round.
  function pairOf(pairs, i, j) {
    const [first, second] = [Math.min(i, j), Math.max(i, j)];
    const pair = pairs[(first * (2 * count - first - 1)) / 2 + second - first - 1];
    if (!pair) return null;
    const [value, low, high, p, verdict] = pair;
    const turned = (end) => end === null ? null : -end;
    return i < j ? { value, low, high, p, verdict } : { value: turned(value), low: turned(high), high: turned(low), p, verdict };
  }

  // As in the tables: three decimals, a correlation without the zero before the point.
  function written(value, isSigned) {
    const text = plainNumber(value, 3);
    const short = chosen("metric") === "MSE" ? text : text.replace(/^(−?)0\./, "$1.");
    return (isSigned && value >= 0.0005 ? "+" : "") + short;
  }

  function cell(pair) {
    if (!pair || pair.value === null) return make("td", { class: "n" }, "–");
    const mark = { better: "*", worse: "*", equal: "=" }[pair.verdict] ?? "";
    const ends = pair.low === null ? null : make("span", { class: "ci" }, `[${written(pair.low)}, ${written(pair.high)}]`);
    const title = pair.p === null ? null : `p = ${pair.p.toPrecision(2)}`;
    return make("td", { class: mark === "*" ? "n sure" : "n", title }, written(pair.value, true), make("span", { class: "star" }, mark), ends);
  }

  function show() {
    const pairs = data.pairs[["level", "axis", "metric"].map(chosen).join("|")] ?? [];
    const heads = data.names.map((name, j) => make("th", { scope: "col", class: "n", title: name }, `− ${j + 1}`));
    find("thead", root).replaceChildren(make("tr", {}, make("th", { scope: "col" }, "Variant"), ...heads));
    find("tbody", root).replaceChildren(...data.names.map((name, i) => make("tr", {}, make("th", { scope: "row" }, `${i + 1}  ${name}`),
      ...data.names.map((_, j) => i === j ? make("td", { class: "n" }) : cell(pairOf(pairs, i, j))))));
  }

  for (const select of findAll("select", root)) select.addEventListener("change", show);
  show();
})();

// Rated and predicted mean of each system over the clips, with Student's intervals, cut to the scale unless the mean lies outside.

function meansOfSystems(clips, systemOf, rated, predicted, quantiles, [low, high]) {
  const groups = new Map();
  for (const clip of clips) {
    if (!systemOf(clip) || rated(clip) === null || predicted(clip) === null) continue;
    groups.set(systemOf(clip), [...(groups.get(systemOf(clip)) ?? []), clip]);
  }
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const ends = (values) => {
    const [n, centre] = [values.length, mean(values)];
    if (n < 2) return null;
    const half = quantiles[n] * Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (n - 1) / n);
    return [Math.max(centre - half, Math.min(low, centre)), Math.min(centre + half, Math.max(high, centre))];
  };
  return [...groups].map(([name, of]) => {
    const [ratings, scores] = [of.map(rated), of.map(predicted)];
    const error = mean(scores) - mean(ratings);
    return { key: `s${name}`, name, n: of.length, rated: mean(ratings), predicted: mean(scores), error, size: Math.abs(error),
             ratedEnds: ends(ratings), predictedEnds: ends(scores) };
  });
}

// Two variants clip by clip: the error of the one against that of the other.

function pictureOfTwo(rows) {
  const known = rows.filter((row) => row.gap !== null);
  const most = Math.max(0.1, ...known.flatMap((row) => [row.sizeA, row.sizeB])) * 1.04;
  const [left, top, side] = [44, 8, 250];
  const [x, y] = [(value) => left + (value / most) * side, (value) => top + side - (value / most) * side];
  const svg = drawn("svg", { viewBox: `0 0 ${left + side + 10} ${top + side + 42}`, role: "img", class: "two c0",
                             "aria-label": "Error of variant B against that of variant A, clip by clip" });
  const step = [0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 20, 50].find((size) => most / size <= 6) ?? most / 4;
  for (let tick = 0; tick <= most; tick += step) {
    const text = String(Number(tick.toFixed(3)));
    svg.append(drawn("path", { class: "grid", d: `M${x(tick)} ${top}V${top + side}M${left} ${y(tick)}H${left + side}` }),
      drawn("text", { class: "tick mid", x: x(tick), y: top + side + 14 }, text), drawn("text", { class: "tick end", x: left - 6, y: y(tick) + 3.5 }, text));
  }
  svg.append(drawn("path", { class: "line identity", d: `M${x(0)} ${y(0)}L${x(most)} ${y(most)}` }),
    drawn("text", { class: "label mid", x: left + side / 2, y: top + side + 34 }, "|error| of A"),
    drawn("text", { class: "label mid", transform: `translate(11 ${top + side / 2}) rotate(-90)` }, "|error| of B"));
  const dots = known.map((row) => `M${x(row.sizeA).toFixed(1)} ${y(row.sizeB).toFixed(1)}h0`).join("");
  svg.append(drawn("path", { class: known.length < 1500 ? "dots" : "dots many", "stroke-width": known.length < 500 ? 4.5 : 3, d: dots }));
  const wins = known.filter((row) => row.gap < 0).length;
  const mean = (name) => plainNumber(known.reduce((sum, row) => sum + row[name], 0) / known.length, 3);
  const told = known.length ? `A is nearer to the rating in ${wins} of ${known.length} clips; mean |error| ${mean("sizeA")} of A, ${mean("sizeB")} of B. Above the line A is nearer.` : "";
  return [make("p", { class: "note" }, told), svg];
}

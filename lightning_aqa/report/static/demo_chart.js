// A waveform with the scores of its frames over it; a press goes to that time.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 100;

function draw(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function wavePath(columns) {
  const peak = Math.max(1e-3, ...columns.flat().map(Math.abs));
  const x = (i) => (WIDTH * i / columns.length).toFixed(2);
  const y = (value) => (HEIGHT / 2 * (1 - 0.96 * value / peak)).toFixed(2);
  const block = ([low, high], i) => `M${x(i)} ${y(high)}H${x(i + 1)}V${Number(y(low)) + 0.4}H${x(i)}Z`;
  return columns.map(block).join("");
}

// The part of the scale that the scores of frames are in, and a fifth of it at least: noise should not look like a change.

function rangeOf(scores, { low, high }) {
  const [least, most] = [Math.min(...scores), Math.max(...scores)];
  const span = Math.min(high - low, Math.max(0.2 * (high - low), 1.2 * (most - least)));
  const start = Math.min(high - span, Math.max(low, (least + most - span) / 2));
  return [start, start + span];
}

function framesPath(found, scores, [low, high]) {
  const { starts, ends } = found.frames;
  const y = (value) => (HEIGHT * (1 - Math.min(1, Math.max(0, (value - low) / (high - low)))) * 0.96 + 2).toFixed(2);
  const x = (seconds) => (WIDTH * seconds / found.seconds).toFixed(2);
  return scores.map((score, i) => `${i ? "L" : "M"}${x(starts[i])} ${y(score)}H${x(ends[i])}`).join("");
}

function chartOf(found, audio) {
  const { frames } = found;
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const line = draw("path", { class: "frames" });
  const head = draw("line", { class: "head", y1: 0, y2: HEIGHT, x1: 0, x2: 0 });
  svg.append(draw("path", { class: "wave", d: wavePath(found.wave) }), line, head);
  const scale = make("div", { class: "scale" });
  const time = make("div", { class: "time" }, make("span", {}, "0 s"), make("span", {}, `${found.seconds.toFixed(1)} s`));
  const box = make("div", {}, make("div", { class: "chart" }, svg, scale, time));
  const length = `Waveform of ${found.seconds.toFixed(1)} s`;
  svg.setAttribute("aria-label", `${length}.`);
  const show = (a) => {
    const scores = frames.scores[a];
    const range = rangeOf(scores, found.axes[a]);
    line.setAttribute("d", framesPath(found, scores, range));
    scale.replaceChildren(...range.toReversed().map((end) => make("span", {}, end.toFixed(1))));
    const [least, most] = [Math.min(...scores), Math.max(...scores)].map((value) => value.toFixed(2));
    svg.setAttribute("aria-label", `${length}; ${found.axes[a].title} by frame, from ${least} to ${most}.`);
  };
  if (frames) {
    box.prepend(choiceOf(found.axes, show));
    show(0);
  }
  audio.addEventListener("timeupdate", () => {
    const x = WIDTH * Math.min(1, audio.currentTime / found.seconds);
    head.setAttribute("x1", x); head.setAttribute("x2", x);
  });
  svg.addEventListener("click", (event) => {
    const { left, width } = svg.getBoundingClientRect();
    audio.currentTime = found.seconds * (event.clientX - left) / width;
  });
  return box;
}

function choiceOf(axes, show) {
  const box = make("div", { class: "choose tabs", role: "group", "aria-label": "Scores by frame" });
  const buttons = axes.map((axis, a) => make("button", { type: "button", "aria-pressed": String(a === 0) }, axis.title));
  buttons.forEach((button, a) => button.addEventListener("click", () => {
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    show(a);
  }));
  box.append(...(buttons.length > 1 ? buttons : [make("span", { class: "note" }, `${axes[0].title} by frame`)]));
  return box;
}

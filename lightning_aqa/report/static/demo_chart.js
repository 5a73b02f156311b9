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

function framesPath(found, frames, a) {
  const { low, high } = found.axes[a];
  const y = (value) => (HEIGHT * (1 - (Math.min(high, Math.max(low, value)) - low) / (high - low)) * 0.96 + 2).toFixed(2);
  const x = (seconds) => (WIDTH * seconds / found.seconds).toFixed(2);
  return frames.scores[a].map((score, i) => `${i ? "L" : "M"}${x(frames.starts[i])} ${y(score)}H${x(frames.ends[i])}`).join("");
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
    const { title, low, high } = found.axes[a];
    line.setAttribute("d", framesPath(found, frames, a));
    scale.replaceChildren(make("span", {}, String(high)), make("span", {}, String(low)));
    const [least, most] = [Math.min(...frames.scores[a]), Math.max(...frames.scores[a])].map((value) => value.toFixed(2));
    svg.setAttribute("aria-label", `${length}; ${title} by frame, from ${least} to ${most}.`);
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

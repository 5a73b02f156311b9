// One trial: sounds that play one at a time, and the questions about them. Everything is made of buttons, radio buttons and sliders.

// Sounds of a trial: one plays at a time; with `synced` a change goes on where the last sound was.

const NEAR_END = 0.25; // seconds; from there on a change begins anew

function makeTransport(sources, names, synced) {
  const audios = sources.map((source) => make("audio", { src: source, preload: "auto" }));
  const heard = new Set();
  const buttons = names.map((name) => make("button", { type: "button", "aria-pressed": "false", "aria-label": name === "Play" ? name : `Play ${name}` }, name));
  const seek = make("input", { type: "range", min: 0, max: 1, step: 0.001, value: 0, "aria-label": "Position" });
  const time = make("span", {}, "0.0 s");
  const loop = make("input", { type: "checkbox" });
  const listeners = [];
  let current = 0;

  const duration = () => audios[current].duration || 0;
  const show = () => {
    buttons.forEach((button, i) => {
      button.setAttribute("aria-pressed", String(i === current && !audios[i].paused));
      button.classList.toggle("heard", heard.has(i));
    });
    seek.value = duration() ? audios[current].currentTime / duration() : 0;
    time.textContent = `${audios[current].currentTime.toFixed(1)} s`;
  };
  const stop = () => audios.forEach((audio) => audio.pause());
  const play = (i) => {
    if (i < 0 || i >= audios.length) return;
    if (i === current && !audios[i].paused) { audios[i].pause(); return; }
    const position = audios[current].currentTime;
    const goesOn = !audios[current].paused || i === current;
    stop();
    const isInside = synced && goesOn && position < (audios[i].duration || 0) - NEAR_END;
    if (i !== current) audios[i].currentTime = isInside ? position : 0;
    current = i;
    audios[i].play().catch((error) => { if (error.name !== "AbortError") time.textContent = "cannot be played here"; });
  };
  audios.forEach((audio, i) => {
    audio.addEventListener("playing", () => { heard.add(i); show(); listeners.forEach((call) => call()); });
    audio.addEventListener("pause", show);
    audio.addEventListener("timeupdate", show);
    audio.addEventListener("ended", () => { if (loop.checked) { audio.currentTime = 0; audio.play(); } else show(); });
    buttons[i].addEventListener("click", () => play(i));
  });
  seek.addEventListener("input", () => { audios[current].currentTime = seek.value * duration(); });
  const bar = make("div", { class: "seek" }, seek, time, make("label", {}, loop, " repeat"));
  return { audios, buttons, bar, play, stop, toggle: () => play(current), isHeard: () => heard.size === audios.length,
           onHeard: (call) => listeners.push(call), now: () => current };
}

// A question: its element, its value (null until answered), and a way to set it.

function makeChoices(legend, choices, changed) {
  const name = `q${makeChoices.count = (makeChoices.count ?? 0) + 1}`;
  const inputs = choices.map(([value]) => make("input", { type: "radio", name, value }));
  const labels = choices.map(([, text], i) => make("label", {}, inputs[i], text));
  inputs.forEach((input) => input.addEventListener("change", changed));
  return {
    element: make("fieldset", {}, make("legend", {}, legend), make("div", { class: "choices" }, ...labels)),
    value: () => inputs.find((input) => input.checked)?.value ?? null,
    set: (value) => { for (const input of inputs) if (input.value === String(value)) { input.checked = true; input.focus(); changed(); } },
  };
}

function makeSlider(label, axis, changed) {
  const input = make("input", { type: "range", min: axis.low, max: axis.high, step: axis.step, value: (axis.low + axis.high) / 2, "aria-label": label });
  const output = make("output", {}, "–");
  const words = make("div", { class: "words", "aria-hidden": "true" }, ...axis.labels.map(([, word]) => make("span", {}, word)));
  const element = make("div", { class: "slider unset" }, input, output, words);
  let isSet = false;
  const word = (value) => axis.labels[Math.min(axis.labels.length - 1, Math.floor((value - axis.low) / (axis.high - axis.low) * axis.labels.length))][1];
  const show = () => {
    isSet = true;
    element.classList.remove("unset");
    output.textContent = String(Number(Number(input.value).toFixed(2)));
    input.setAttribute("aria-valuetext", `${output.textContent}, ${word(input.value)}`);
    changed();
  };
  input.addEventListener("input", show);
  input.addEventListener("click", show);
  return { element, input, value: () => isSet ? Number(input.value) : null, set: (value) => { input.value = value; show(); } };
}

function axisQuestion(axis, legend, changed) {
  if (!axis.stepped) {
    const slider = makeSlider(legend, axis, changed);
    return { ...slider, element: make("fieldset", {}, make("legend", {}, legend), slider.element) };
  }
  const words = new Map(axis.labels.map(([value, word]) => [value, word]));
  const values = Array.from({ length: axis.high - axis.low + 1 }, (_, k) => axis.low + k);
  const question = makeChoices(legend, values.map((value) => [value, words.has(value) ? `${value} ${words.get(value)}` : String(value)]), changed);
  return { ...question, value: () => question.value() === null ? null : Number(question.value()) };
}

// The three kinds. `shown` has the places, in the trial, of the sounds in the order of this listener.

const KINDS = {
  mos(test, trial, shown, changed) {
    const transport = makeTransport(shown.map((i) => test.sounds[trial.sounds[i]]), ["Play"], false);
    const questions = test.axes.map((axis) => axisQuestion(axis, axis.title, changed));
    const players = make("div", { class: "players" }, ...transport.buttons, transport.bar);
    return {
      transport, questions, element: make("div", {}, players, ...questions.map((question) => question.element)),
      answer: () => ({ scores: [questions.map((question) => question.value())] }),
      restore: (answer) => questions.forEach((question, a) => question.set(answer.scores[0][a])),
      key(key) {
        if (!/^[0-9]$/.test(key)) return false;
        (questions.find((question) => question.element.contains(document.activeElement))
          ?? questions.find((question) => question.value() === null) ?? questions[0]).set(Number(key));
        return true;
      },
      keys: "Space plays and pauses. A digit rates. Enter goes on, Backspace goes back.",
    };
  },
  pairs(test, trial, shown, changed) {
    const transport = makeTransport(shown.map((i) => test.sounds[trial.sounds[i]]), ["A", "B"], false);
    const choices = [["a", "A is better"], ...(test.ties ? [["tie", "No difference"]] : []), ["b", "B is better"]];
    const legend = (axis) => test.axes.length > 1 ? `Which is better: ${axis.title}?` : "Which is better?";
    const questions = test.axes.map((axis) => makeChoices(legend(axis), choices, changed));
    const players = make("div", { class: "players" }, ...transport.buttons, transport.bar);
    const byKey = { ArrowLeft: "a", ArrowDown: "tie", ArrowRight: "b" };
    return {
      transport, questions, element: make("div", {}, players, ...questions.map((question) => question.element)),
      answer: () => ({ winners: questions.map((question) => question.value()), swapped: shown[0] === 1 }),
      restore: (answer) => questions.forEach((question, a) => question.set(answer.winners[a])),
      key(key) {
        if (key === "a" || key === "b") { transport.play(key === "a" ? 0 : 1); return true; }
        if (!(key in byKey)) return false;
        (questions.find((question) => question.element.contains(document.activeElement))
          ?? questions.find((question) => question.value() === null) ?? questions[0]).set(byKey[key]);
        return true;
      },
      keys: "A and B play the sounds, space plays and pauses. ← A is better, → B is better" + (test.ties ? ", ↓ no difference" : "") + ". Enter goes on, Backspace goes back.",
    };
  },
  mushra(test, trial, shown, changed) {
    const names = ["Reference", ...shown.map((_, k) => String(k + 1))];
    const sources = [trial.reference, ...shown.map((i) => trial.sounds[i])].map((i) => test.sounds[i]);
    const transport = makeTransport(sources, names, true);
    const sliders = shown.map((_, k) => test.axes.map((axis) => makeSlider(`Sound ${k + 1}: ${axis.title}`, axis, changed)));
    const rows = sliders.map((of, k) => make("div", { class: "condition", role: "group", "aria-label": `Sound ${k + 1}` }, transport.buttons[k + 1],
      make("div", {}, ...of.flatMap((slider, a) => [test.axes.length > 1 ? make("span", { class: "note" }, test.axes[a].title) : null, slider.element]))));
    return {
      transport, questions: sliders.flat(),
      element: make("div", {}, make("div", { class: "players" }, transport.buttons[0], transport.bar), ...rows),
      answer: () => ({ scores: trial.sounds.map((_, i) => sliders[shown.indexOf(i)].map((slider) => slider.value())) }),
      restore: (answer) => answer.scores.forEach((of, i) => of.forEach((score, a) => sliders[shown.indexOf(i)][a].set(score))),
      key(key) {
        if (key !== "r" && key !== "0" && !/^[1-9]$/.test(key)) return false;
        const number = key === "r" ? 0 : Number(key);
        if (number > shown.length) return false;
        transport.play(number);
        if (number) sliders[number - 1][0].input.focus();
        return true;
      },
      keys: "R plays the reference, a digit a sound and goes to its slider, which the arrow keys move. Space plays and pauses. Enter goes on, Backspace goes back.",
    };
  },
};

// A listening test: training round, trials in an order of the listener's own, progress kept in this browser, answers saved or sent.

(() => {
  const test = JSON.parse(find("#test").textContent);
  let state = null; // session, listener, position, answers by trial
  let plan = []; // trials in the order of this listener: { trial, shown, isTraining }
  let view = null;

  // The order is a function of seed and name alone, so that a listener who comes back goes on with the same one.

  function randomFrom(text) {
    let seed = 2166136261;
    for (const character of text) seed = Math.imul(seed ^ character.codePointAt(0), 16777619);
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
    };
  }

  function shuffled(items, random) {
    const order = [...items];
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  function planFor(listener) {
    const every = test.trials.map((_, number) => number);
    const drawn = (what) => randomFrom([test.seed, listener, what].join("\u0000"));
    const step = (number, isTraining) => {
      const places = test.trials[number].sounds.map((_, place) => place);
      return { number, isTraining, shown: shuffled(places, drawn(`${isTraining ? "training" : "trial"} ${number}`)) };
    };
    const main = (test.ordered ? every : shuffled(every, drawn("order"))).slice(0, test.limit);
    const training = shuffled(every, drawn("training")).slice(0, Math.min(test.training, every.length));
    return [...training.map((number) => step(number, true)), ...main.map((number) => step(number, false))];
  }

  // Progress: after each answer, by test and listener.

  const keyOf = (listener) => `listen ${test.test} ${listener}`;

  function load(listener) {
    try {
      const kept = JSON.parse(localStorage.getItem(keyOf(listener)));
      if (kept && kept.listener === listener && kept.answers) return kept;
    } catch { /* not allowed, or damaged */ }
    const digits = crypto.getRandomValues(new Uint8Array(16));
    return { session: [...digits].map((digit) => digit.toString(16).padStart(2, "0")).join(""), listener, position: 0, answers: {} };
  }

  function keep() {
    try { localStorage.setItem(keyOf(state.listener), JSON.stringify(state)); } catch { /* the page works without */ }
  }

  // What leaves the page: the same answers as JSON and as a table.

  const sheet = () => ({ test: test.test, session: state.session, listener: state.listener,
    answers: Object.entries(state.answers).map(([number, answer]) => ({ trial: Number(number), ...answer })) });

  function rows() {
    return sheet().answers.sort((one, other) => one.trial - other.trial).flatMap((answer) => {
      const names = test.trials[answer.trial].sounds.map((sound) => test.names[sound]);
      if (test.kind === "pairs") {
        const [one, other] = answer.swapped ? [names[1], names[0]] : names;
        const prompt = one.prompt === other.prompt ? one.prompt : "";
        return answer.winners.map((winner, a) => [one.file, other.file, winner, state.listener, test.axes[a].name, one.system, other.system, prompt]);
      }
      return names.flatMap((of, i) => of.listed ? [[of.file, of.system, of.prompt, state.listener, ...answer.scores[i]]] : []);
    });
  }

  // As utils/records.py writes a cell: a text that a spreadsheet would run has an apostrophe before it.

  function cell(value) {
    if (typeof value === "number") return String(value);
    const text = /^(?:'*\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n]|'+\\)/.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function table() {
    const columns = test.kind === "pairs" ? test.columns : [...test.columns, ...test.axes.map((axis) => axis.name)];
    return [columns, ...rows()].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
  }

  function save(text, suffix, type) {
    const name = `${test.kind}-${state.listener.replace(/[^\p{L}\p{N}_-]+/gu, "_")}-${state.session.slice(0, 8)}.${suffix}`;
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  async function send() {
    if (!test.served) return true;
    try {
      const reply = await fetch("answers", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(sheet()) });
      return reply.ok;
    } catch { return false; }
  }

  // Screens.

  function showOnly(id) {
    for (const section of findAll("main > section")) section.hidden = section.id !== id;
  }

  function showTrial() {
    const step = plan[state.position];
    const trial = test.trials[step.number];
    const numTraining = plan.filter((each) => each.isTraining).length;
    const [number, total] = step.isTraining ? [state.position + 1, numTraining] : [state.position + 1 - numTraining, plan.length - numTraining];
    const began = performance.now();
    view?.transport.stop();
    view = null;
    const made = KINDS[test.kind](test, trial, step.shown, refresh);
    view = { ...made, step, began };
    made.transport.onHeard(refresh);
    const before = step.isTraining ? null : state.answers[step.number];
    find("#heading").textContent = step.isTraining ? `Training ${number} of ${total}` : `Trial ${number} of ${total}`;
    find("#progress").value = state.position / plan.length;
    find("#keys").textContent = made.keys;
    find("#inside").replaceChildren(step.isTraining ? make("p", { class: "note" }, "For practice: this answer does not count.") : "", made.element);
    find("#back").disabled = state.position === 0;
    find("#next").textContent = state.position + 1 === plan.length ? "Finish" : "Next";
    showOnly("trial");
    if (before) { made.restore(before); view.wasAnswered = true; }
    refresh();
    find("#heading").focus();
  }

  function lacking() {
    const words = [];
    if (!view.transport.isHeard() && !view.wasAnswered) words.push(view.transport.audios.length > 1 ? "listen to every sound" : "listen to the sound");
    if (view.questions.some((question) => question.value() === null)) words.push(view.questions.length > 1 ? "answer every question" : "answer the question");
    return words.length ? `To go on, ${words.join(" and ")}.` : "";
  }

  function refresh() {
    if (!view) return;
    const text = lacking();
    find("#next").disabled = text !== "";
    if (find("#lacking").textContent !== text) find("#lacking").textContent = text;
  }

  function go(by) {
    if (by > 0 && lacking()) return;
    const { step, began } = view;
    if (!lacking() && !step.isTraining) {
      const seconds = Math.round((performance.now() - began) / 100) / 10;
      state.answers[step.number] = { ...view.answer(), seconds };
    }
    state.position = Math.max(0, state.position + by);
    keep();
    if (state.position < plan.length) { if (by > 0 && !step.isTraining) send(); showTrial(); } else finish();
  }

  async function finish() {
    view?.transport.stop();
    view = null;
    const count = Object.keys(state.answers).length;
    const saved = "Save your answers now and pass the file on; they are kept in this browser too.";
    showOnly("end");
    find("#thanks").focus();
    if (!test.served) { find("#outcome").textContent = `${count} trials answered. ${saved}`; return; }
    find("#outcome").textContent = "Sending …";
    const isSent = await send();
    find("#send").hidden = isSent;
    find("#outcome").textContent = isSent ? `${count} trials answered and sent. You can close the page.` : `Your answers could not be sent. Try again, or: ${saved}`;
  }

  function begin(event) {
    event.preventDefault();
    const listener = find("#listener").value.replace(/\p{C}/gu, "").trim();
    if (!listener) return;
    state = load(listener);
    plan = planFor(listener);
    state.position = Math.min(state.position, plan.length);
    keep();
    if (state.position < plan.length) showTrial(); else finish();
  }

  function onKey(event) {
    if (!view || event.ctrlKey || event.metaKey || event.altKey) return;
    const { tagName } = event.target;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const isButton = ["BUTTON", "SUMMARY", "A"].includes(tagName);
    if ((key === " " || key === "Enter") && isButton) return;
    if (key.startsWith("Arrow") && event.target.type === "range") return;
    if (key === " ") view.transport.toggle();
    else if (key === "Enter") go(1);
    else if (key === "Backspace") { if (state.position > 0) go(-1); }
    else if (!view.key(key)) return;
    event.preventDefault();
  }

  find("#who").addEventListener("submit", begin);
  find("#next").addEventListener("click", () => go(1));
  find("#back").addEventListener("click", () => go(-1));
  find("#again").addEventListener("click", () => { state.position = plan.findIndex((step) => !step.isTraining); showTrial(); });
  find("#json").addEventListener("click", () => save(JSON.stringify(sheet(), null, 1), "json", "application/json"));
  find("#csv")?.addEventListener("click", () => save(table(), "csv", "text/csv"));
  find("#send").addEventListener("click", finish);
  document.addEventListener("keydown", onKey);
  find("#listener").value = new URLSearchParams(location.search).get("listener") ?? "";
  showOnly("start");
})();

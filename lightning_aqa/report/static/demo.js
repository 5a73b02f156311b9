// The page that scores a clip: choose, drop or record one, send it, show what comes back.

(() => {
  const about = JSON.parse(find("#about").textContent);
  const MOST_RESULTS = 10;
  let clip = null; // { blob, name, url }
  let stop = null; // ends the recording
  let numRecorded = 0;

  function say(text) {
    find("#error").textContent = text;
    find("#error").hidden = !text;
  }

  function choose(blob, name) {
    say("");
    if (clip && !clip.isShown) URL.revokeObjectURL(clip.url);
    clip = null;
    find("#submit").disabled = true;
    find("#chosen").hidden = true;
    if (blob.size > about.megabytes * 2 ** 20) { say(`${name} has ${(blob.size / 2 ** 20).toFixed(1)} MiB; expected at most ${about.megabytes}.`); return; }
    clip = { blob, name, url: URL.createObjectURL(blob) };
    find("#name").textContent = name;
    find("#preview").src = clip.url;
    find("#chosen").hidden = false;
    find("#submit").disabled = false;
  }

  // Recording: one button begins and ends it; it ends by itself at the limit.

  async function record() {
    const button = find("#record");
    if (stop) { await endRecording(); return; }
    say("");
    button.disabled = true;
    let size = 0;
    try {
      stop = await startRecording((samples, rate) => {
        size += samples.length;
        find("#peak").value = Math.max(...samples.map(Math.abs));
        find("#clock").textContent = `${(size / rate).toFixed(1)} s`;
        if (stop && size / rate >= about.seconds) endRecording();
      });
    } catch (error) { say(error.name === "NotAllowedError" ? "The browser was not allowed to use the microphone." : `No microphone can be used (${error.message}).`); }
    button.disabled = false;
    if (!stop) return;
    button.textContent = "Stop";
    button.classList.add("on");
    find("#level").hidden = false;
  }

  async function endRecording() {
    const end = stop;
    stop = null;
    find("#record").textContent = "Record again";
    find("#record").classList.remove("on");
    find("#level").hidden = true;
    find("#file").value = "";
    numRecorded += 1;
    choose(await end(), `recording-${numRecorded}.wav`);
  }

  // Sending.

  async function score(event) {
    event.preventDefault();
    const sent = clip;
    if (!sent) return;
    say("");
    find("#submit").disabled = true;
    find("#status").textContent = "Scoring …";
    try {
      const query = new URLSearchParams({ name: sent.name, prompt: find("#prompt")?.value ?? "" });
      const reply = await fetch(`score?${query}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: sent.blob });
      const found = await reply.json();
      if (!reply.ok) throw new Error(found.error);
      sent.isShown = true;
      show(found, sent);
    } catch (error) {
      say(error instanceof TypeError ? "The server cannot be reached; it may have ended." : `${sent.name}: ${error.message}`);
    }
    find("#status").textContent = "";
    find("#submit").disabled = !clip;
  }

  // Results, the newest first.

  const percent = (value, { low, high }) => 100 * Math.min(1, Math.max(0, (value - low) / (high - low)));

  function barOf(axis) {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    const place = (name, left, width) => {
      const part = make("span", { class: name });
      part.style.left = `${left}%`;
      if (width !== null) part.style.width = `${width}%`;
      bar.append(part);
    };
    if (axis.ends) place("range", percent(axis.ends[0], axis), percent(axis.ends[1], axis) - percent(axis.ends[0], axis));
    place("point", percent(axis.score, axis), null);
    return make("td", {}, bar, make("span", { class: "ends", "aria-hidden": "true" }, make("span", {}, String(axis.low)), make("span", {}, String(axis.high))));
  }

  function rowOf(axis) {
    const value = make("td", { class: "n" }, make("data", { value: axis.score }, axis.score.toFixed(2)));
    const range = make("td", { class: "n range" }, axis.ends ? axis.ends.map((end) => end.toFixed(2)).join(" to ") : "none");
    return make("tr", {}, make("th", { scope: "row" }, axis.title), value, range, barOf(axis));
  }

  function tableOf(found) {
    const head = make("tr", {}, ...[["Axis", ""], ["Score", "n"], [about.share ? `${100 * about.share}\u00a0% interval` : "Interval", "n"], ["Scale", ""]].map(
      ([text, kind]) => make("th", { scope: "col", class: kind || null }, text)));
    return make("div", { class: "box" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...found.axes.map(rowOf))));
  }

  function show(found, sent) {
    const audio = make("audio", { controls: true, src: sent.url, "aria-label": sent.name });
    const heading = make("h2", { tabindex: "-1" }, sent.name);
    const note = found.note ? make("p", { class: "note warn" }, `Note: ${found.note}.`) : null;
    const cut = found.goes_on ? make("p", { class: "note warn" }, `The clip is longer: its first ${found.seconds.toFixed(0)} s are scored.`) : null;
    const unlike = typeof found.unlike === "number" ? make("p", { class: "note" },
      `Unlike the training clips: ${found.unlike.toFixed(2)}, where 0.5 is usual, and 1 is farther from them than any is from the others.`) : null;
    const article = make("article", {}, heading, tableOf(found), note, cut, unlike, chartOf(found, audio), audio);
    find("#results").prepend(article);
    for (const old of findAll("#results > article").slice(MOST_RESULTS)) old.remove();
    heading.focus();
  }

  find("#form").addEventListener("submit", score);
  find("#file").addEventListener("change", ({ target }) => { if (target.files.length) choose(target.files[0], target.files[0].name); });
  find("#record").addEventListener("click", record);
  const drop = find("#drop");
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) choose(file, file.name);
  });
  const reason = whyNoMicrophone();
  if (reason) {
    find("#record").disabled = true;
    find("#microphone").textContent = reason;
    find("#microphone").hidden = false;
  }
})();

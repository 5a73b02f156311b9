// A recording as WAV of 16 bits, made from the samples themselves: what a browser's own recorder writes needs a codec to be read.

function wavOf(parts, rate) {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * size));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * size, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * size, true);
  let at = 44;
  for (const part of parts) for (const sample of part) { view.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true); at += 2; }
  return new Blob([view], { type: "audio/wav" });
}

const whyNoMicrophone = () => window.isSecureContext && navigator.mediaDevices && window.AudioWorkletNode ? ""
  : `To record, a browser needs https or this machine's own address (localhost); this page is at ${location.origin}.`;

// Returns what stops the recording and gives it; onSamples is told of each piece.

async function startRecording(onSamples) {
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
  const context = new AudioContext();
  const close = () => { stream.getTracks().forEach((track) => track.stop()); return context.close(); };
  const parts = [];
  try {
    await context.audioWorklet.addModule("demo_recorder.js");
    const node = new AudioWorkletNode(context, "recorder");
    node.port.onmessage = ({ data }) => { parts.push(data); onSamples(data, context.sampleRate); };
    context.createMediaStreamSource(stream).connect(node).connect(context.destination); // silent, and keeps it running
    await context.resume();
  } catch (error) { await close(); throw error; }
  return async () => { await close(); return wavOf(parts, context.sampleRate); };
}

// The part of the recorder that runs beside the page: passes samples on, channels averaged.

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.held = new Float32Array(1024);
    this.size = 0;
  }

  process([channels]) {
    if (!channels.length) return true;
    for (let i = 0; i < channels[0].length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.held[this.size++] = sum / channels.length;
      if (this.size === this.held.length) {
        this.port.postMessage(this.held.slice());
        this.size = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);

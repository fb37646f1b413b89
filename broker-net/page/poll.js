// Looks at the broker again and again: one request after the other, none while nobody looks at the page.

/** A listing that takes the broker long is asked for less often: it waits for so many times its duration. */
const PATIENCE = 5;

export class Poll {
  /** `load(signal)` asks, `show(answer)` and `fail(error)` hear of it. */
  constructor({ load, show, fail, interval }) {
    Object.assign(this, { load, show, fail, interval });
    this.abort = new AbortController();
    this.busy = false;
    this.again = false;
    this.onvisible = () => this.look();
    document.addEventListener("visibilitychange", this.onvisible);
  }

  /** The tab is shown or hidden: what is shown is made new, what is hidden waits. */
  look() {
    clearTimeout(this.timer);
    if (!document.hidden && this.interval() !== 0) this.now();
  }

  /** Asks now, or as soon as the answer that is awaited has come. */
  async now() {
    if (this.busy) {
      this.again = true;
      return;
    }
    clearTimeout(this.timer);
    this.busy = true;
    this.again = false;
    const start = performance.now();
    try {
      const answer = await this.load(this.abort.signal);
      if (!this.abort.signal.aborted) this.show(answer);
    } catch (error) {
      if (!this.abort.signal.aborted) this.fail(error);
    }
    this.busy = false;
    if (this.abort.signal.aborted) return;
    if (this.again) return this.now();
    this.wait(performance.now() - start);
  }

  wait(took) {
    const interval = this.interval();
    if (interval === 0 || document.hidden) return;
    this.timer = setTimeout(() => this.now(), Math.max(interval, PATIENCE * took));
  }

  stop() {
    clearTimeout(this.timer);
    this.abort.abort();
    document.removeEventListener("visibilitychange", this.onvisible);
  }
}

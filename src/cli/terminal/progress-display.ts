import { SingleBar } from 'cli-progress';
import type { ProgressEvent } from '../../checkpoint/net/progress.ts';

/** Progress on standard error: one bar at a time, which goes when its work is done. Silent unless a person watches. */
export class ProgressDisplay {
  readonly #visible: boolean;
  #bar: SingleBar | undefined;
  #label = '';

  constructor(quiet: boolean) {
    this.#visible = process.stderr.isTTY && !quiet;
  }

  /** Listener for `onProgress`, bound to this display. */
  readonly onProgress = ({ status, file = '', loaded, total }: ProgressEvent): void => {
    if (status === 'ready' || status === 'done') this.stop();
    if (loaded === undefined || total === undefined) return;
    if (status === 'load') this.show('Loading weights', loaded, total);
    if (status === 'compile') this.show('Compiling kernels', loaded, total);
    if (status === 'progress') this.show(file, loaded, total, true);
  };

  /** A new label begins a new bar. */
  show(label: string, done: number, total: number, inBytes = false): void {
    if (!this.#visible) return;
    if (this.#bar === undefined || this.#label !== label) {
      this.stop();
      this.#label = label;
      const amounts = inBytes ? ' {done} / {whole} MB | {eta_formatted}' : '';
      this.#bar = new SingleBar({
        format: `{label} {bar} {percentage}%${amounts}`,
        stream: process.stderr,
        barsize: 24,
        barCompleteChar: '█',
        barIncompleteChar: '░',
        clearOnComplete: true,
        hideCursor: false,
        // Ctrl-C is for the command to handle.
        gracefulExit: false,
      });
      this.#bar.start(total, done, payload(label, done, total));
    }
    this.#bar.update(done, payload(label, done, total));
  }

  /** Takes the bar away. */
  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}

function payload(label: string, done: number, total: number): Record<string, string> {
  return { label, done: (done / 1e6).toFixed(1), whole: (total / 1e6).toFixed(1) };
}

import type { MemoryReport } from './memory-report.ts';
import { scaleColor, scalePosition } from './scale.ts';

const BINS = 24;
/** Share of the canvas's height that the band of colours takes. */
const BAND = 10;

/** A histogram of the heads' half-lives, above the colours of the scale. */
export class MemoryHistogram {
  readonly #canvas: HTMLCanvasElement;
  #counts: readonly number[] = new Array<number>(BINS).fill(0);

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
  }

  show({ values }: MemoryReport): void {
    const counts = new Array<number>(BINS).fill(0);
    for (const value of values) {
      if (!Number.isNaN(value)) counts[Math.min(BINS - 1, Math.floor(scalePosition(value) * BINS))]++;
    }
    this.#counts = counts;
    this.#draw();
  }

  #draw(): void {
    const canvas = this.#canvas;
    const context = canvas.getContext('2d');
    const scale = globalThis.devicePixelRatio;
    canvas.width = Math.round(canvas.clientWidth * scale);
    canvas.height = Math.round(canvas.clientHeight * scale);
    if (!context) return;
    const band = BAND * scale;
    const room = canvas.height - band - 3 * scale;
    const most = Math.max(1, ...this.#counts);
    const width = canvas.width / BINS;
    for (const [i, count] of this.#counts.entries()) {
      const height = count === 0 ? 0 : Math.max(scale, (count / most) * room);
      context.fillStyle = scaleColor((i + 0.5) / BINS);
      context.fillRect(Math.round(i * width), room - height, Math.ceil(width) - scale, height);
    }
    for (let x = 0; x < canvas.width; x++) {
      context.fillStyle = scaleColor(x / canvas.width);
      context.fillRect(x, canvas.height - band, 1, band);
    }
  }
}

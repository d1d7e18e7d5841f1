import type { MemoryReport } from './memory-report.ts';
import { scaleColor, scalePosition } from './scale.ts';

/** A head of a layer, both counted from 0. */
export interface Cell {
  readonly layer: number;
  readonly head: number;
}

const KEYS: Readonly<Record<string, readonly [layers: number, heads: number]>> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

/** Layers from top to bottom, heads from left to right, each in the colour of its half-life. */
export class MemoryMap {
  /** Called with the cell that the reader looks at. */
  onLook: (cell: Cell | undefined) => void = () => {};
  readonly #canvas: HTMLCanvasElement;
  readonly #isCalm = matchMedia('(prefers-reduced-motion: reduce)');
  #report: MemoryReport | undefined;
  /** Positions on the scale as drawn, while they move towards those of the report. */
  #shown = new Float32Array();
  #looked: Cell | undefined;
  #isDrawing = false;

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    canvas.addEventListener('pointermove', (event) => this.#look(this.#cellAt(event)));
    canvas.addEventListener('pointerdown', (event) => this.#look(this.#cellAt(event)));
    canvas.addEventListener('pointerleave', () => this.#look(undefined));
    canvas.addEventListener('focus', () => this.#look(this.#looked ?? { layer: 0, head: 0 }));
    canvas.addEventListener('blur', () => this.#look(undefined));
    canvas.addEventListener('keydown', (event) => this.#move(event));
  }

  show(report: MemoryReport): void {
    const isNew = this.#shown.length !== report.values.length;
    if (isNew) this.#shown = report.values.map(scalePosition);
    this.#report = report;
    if (!this.#isDrawing) this.#frame();
  }

  /** Draws frames until all cells have reached their colours. */
  #frame(): void {
    const { values = new Float32Array() } = this.#report ?? {};
    let isMoving = false;
    for (let i = 0; i < values.length; i++) {
      const missing = scalePosition(values[i]) - this.#shown[i];
      const isClose = this.#isCalm.matches || !(Math.abs(missing) > 0.002);
      this.#shown[i] += isClose ? missing : missing * 0.3;
      isMoving ||= !isClose;
    }
    this.#draw();
    this.#isDrawing = isMoving;
    if (isMoving) requestAnimationFrame(() => this.#frame());
  }

  #draw(): void {
    const canvas = this.#canvas;
    const context = canvas.getContext('2d');
    const scale = globalThis.devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    if (!context || !this.#report) return;
    const { layers, heads, values } = this.#report;
    context.clearRect(0, 0, width, height);
    // Few cells have gaps between them; many need every pixel.
    const gap = Math.min(width / heads, height / layers) >= 8 * scale ? 2 * scale : 0;
    for (let i = 0; i < values.length; i++) {
      if (Number.isNaN(values[i])) continue;
      const [left, top, right, bottom] = this.#box({ layer: Math.floor(i / heads), head: i % heads });
      context.fillStyle = scaleColor(this.#shown[i]);
      context.fillRect(left, top, Math.max(1, right - left - gap), Math.max(1, bottom - top - gap));
    }
    if (this.#looked) this.#outline(context, this.#looked, gap, scale);
  }

  #outline(context: CanvasRenderingContext2D, cell: Cell, gap: number, scale: number): void {
    const [left, top, right, bottom] = this.#box(cell);
    // Two lines, of which at least one is visible on any colour.
    for (const [color, inset] of [
      ['#fff', 0],
      ['#000', 1.5],
    ] as const) {
      context.strokeStyle = color;
      context.lineWidth = 1.5 * scale;
      const by = (inset + 0.75) * scale;
      context.strokeRect(left + by, top + by, right - left - gap - 2 * by, bottom - top - gap - 2 * by);
    }
  }

  /** The box of a cell in pixels of the canvas. */
  #box({ layer, head }: Cell): readonly [left: number, top: number, right: number, bottom: number] {
    const { layers = 1, heads = 1 } = this.#report ?? {};
    const { width, height } = this.#canvas;
    const x = (column: number) => Math.round((column * width) / heads);
    const y = (row: number) => Math.round((row * height) / layers);
    return [x(head), y(layer), x(head + 1), y(layer + 1)];
  }

  #cellAt({ offsetX, offsetY }: PointerEvent): Cell | undefined {
    if (!this.#report) return undefined;
    const { layers, heads } = this.#report;
    const { clientWidth, clientHeight } = this.#canvas;
    const layer = Math.floor((offsetY / clientHeight) * layers);
    const head = Math.floor((offsetX / clientWidth) * heads);
    const isInside = layer >= 0 && layer < layers && head >= 0 && head < heads;
    return isInside ? { layer, head } : undefined;
  }

  #move(event: KeyboardEvent): void {
    const step = KEYS[event.key];
    if (!step || !this.#report) return;
    event.preventDefault();
    const { layers, heads } = this.#report;
    const { layer, head } = this.#looked ?? { layer: 0, head: 0 };
    const clamp = (value: number, count: number) => Math.min(count - 1, Math.max(0, value));
    this.#look({ layer: clamp(layer + step[0], layers), head: clamp(head + step[1], heads) });
  }

  #look(cell: Cell | undefined): void {
    this.#looked = this.#report && cell;
    this.onLook(this.#looked);
    if (!this.#isDrawing) this.#draw();
  }
}

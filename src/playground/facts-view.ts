import { byId } from '../page/element.ts';
import type { LoadProgress } from './load-progress.ts';
import type { LoadedWithFallback } from './load-with-fallback.ts';
import { formatBytes } from './sizes.ts';
import type { Speed } from './speed.ts';

const NOTHING = '–';
const DEVICE_NAMES: Readonly<Record<string, string>> = {
  cpu: 'WebAssembly',
  webgpu: 'WebGPU',
  reference: 'TypeScript',
};

/** The model's device, memory and speed. */
export class FactsView {
  readonly #device = byId('fact-device', HTMLElement);
  readonly #memory = byId('fact-memory', HTMLElement);
  readonly #speed = byId('fact-speed', HTMLElement);
  readonly #first = byId('fact-first', HTMLElement);
  readonly #note = byId('device-note', HTMLElement);
  #weightBytes = 0;

  clear(): void {
    for (const fact of [this.#device, this.#memory, this.#speed, this.#first]) fact.textContent = NOTHING;
    this.#note.textContent = '';
  }

  showModel({ llm, fallbackReason }: LoadedWithFallback, progress: LoadProgress): void {
    const { device, reason } = llm.device;
    this.#device.textContent = DEVICE_NAMES[device] ?? device;
    this.#note.textContent = fallbackReason === undefined ? reason : `Not on the requested device: ${fallbackReason}`;
    this.#weightBytes = progress.weightBytes(llm.dtype.dtype);
    this.showMemory(llm);
  }

  /** Memory of the weights, and of saved states of texts. */
  showMemory(llm: LoadedWithFallback['llm']): void {
    this.#memory.textContent = formatBytes(this.#weightBytes + llm.engine.stats().prefixCache.bytes);
  }

  showSpeed({ tokensPerSecond, firstToken }: Speed): void {
    this.#speed.textContent = tokensPerSecond === undefined ? NOTHING : tokensPerSecond.toFixed(1);
    this.#first.textContent = firstToken === undefined ? NOTHING : `${firstToken.toFixed(0)} ms`;
  }
}

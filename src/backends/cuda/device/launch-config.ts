import type { Koffi } from '../../../distributed/load-koffi.ts';
import type { Grid } from '../launch/launch.ts';
import type { Handle } from './driver.ts';

/** Bytes of CUlaunchConfig, and where it has the stream, the address of its attributes, and their number. */
const CONFIG_BYTES = 56;
const STREAM = 32;
const ATTRIBUTES = 40;
const COUNT = 48;
/** Bytes of CUlaunchAttribute, and where its value begins. */
const ATTRIBUTE_BYTES = 72;
const VALUE = 8;
/**
 * CU_LAUNCH_ATTRIBUTE_COOPERATIVE: all blocks run at a time. CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION: the kernel may
 * begin before the one before it has ended.
 */
const LAUNCH_ATTRIBUTES = { cooperative: 2, overlapping: 6 } as const;

/** The driver's description of launches with an attribute. */
export class LaunchConfig {
  readonly #address: Handle;
  readonly #grid: Uint32Array;

  constructor(koffi: Koffi, stream: Handle, attribute: keyof typeof LAUNCH_ATTRIBUTES) {
    const pointer = koffi.alloc('uint8_t', CONFIG_BYTES + ATTRIBUTE_BYTES);
    const buffer = koffi.view(pointer, CONFIG_BYTES + ATTRIBUTE_BYTES);
    new Uint8Array(buffer).fill(0);
    this.#address = Number(koffi.address(pointer));
    const view = new DataView(buffer);
    view.setBigUint64(STREAM, BigInt(stream), true);
    view.setBigUint64(ATTRIBUTES, BigInt(this.#address + CONFIG_BYTES), true);
    view.setUint32(COUNT, 1, true);
    view.setUint32(CONFIG_BYTES, LAUNCH_ATTRIBUTES[attribute], true);
    view.setUint32(CONFIG_BYTES + VALUE, 1, true);
    this.#grid = new Uint32Array(buffer, 0, 7);
  }

  /** Its address, once it says this grid. The next call writes over it. */
  of({ blocks: [x, y = 1, z = 1], threads, sharedBytes = 0 }: Grid): Handle {
    this.#grid.set([x, y, z, threads, 1, 1, sharedBytes]);
    return this.#address;
  }
}

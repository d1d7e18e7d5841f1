import { GpuError } from '../../errors.ts';
import { CompileTurns } from './compile-turns.ts';
import { expandShader, type ShaderConstants } from './shader-template.ts';
import { SHADERS } from './shaders.generated.ts';

export type ShaderName = keyof typeof SHADERS;
export type BindingAccess = 'read' | 'read_write';
export type ParamType = 'u32' | 'i32' | 'f32';

/**
 * A shader of one operation, made for some constants. Its text says what it is bound to: `params`, a uniform structure of
 * numbers, at binding 0, and storage buffers from binding 1 on.
 */
export class Kernel {
  readonly name: string;
  readonly layout: KernelLayout;
  readonly fields: readonly { readonly name: string; readonly type: ParamType }[];
  readonly bindings: readonly KernelBinding[];
  /** undefined until it is compiled. */
  pipeline: GPUComputePipeline | undefined;
  /** Settles when it is. */
  readonly ready: Promise<void>;

  constructor(device: GPUDevice, name: string, code: string, { layouts, turns }: KernelMakers) {
    this.name = name;
    this.fields = readFields(code);
    this.bindings = readBindings(code);
    this.layout = layouts.get(this.bindings);
    this.ready = turns.take(() => this.#compile(device, code));
    // Whoever needs it awaits it; until then a failure is nobody's.
    this.ready.catch(() => {});
  }

  async #compile(device: GPUDevice, code: string): Promise<void> {
    const module = device.createShaderModule({ code, label: this.name });
    try {
      this.pipeline = await device.createComputePipelineAsync({
        label: this.name,
        layout: this.layout.pipeline,
        compute: { module, entryPoint: 'main' },
      });
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new GpuError(`The shader '${this.name}' does not compile here: ${why}`, '', { cause });
    }
  }
}

interface KernelMakers {
  readonly layouts: KernelLayouts;
  readonly turns: CompileTurns;
}

/** A storage buffer that a shader is bound to. */
export interface KernelBinding {
  readonly binding: number;
  readonly name: string;
  readonly access: BindingAccess;
}

/** What kernels with the same kinds of bindings share. */
export interface KernelLayout {
  readonly id: number;
  readonly group: GPUBindGroupLayout;
  readonly pipeline: GPUPipelineLayout;
}

const COMPUTE = 0x4;

export class KernelLayouts {
  readonly #device: GPUDevice;
  readonly #layouts = new Map<string, KernelLayout>();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  get(bindings: readonly KernelBinding[]): KernelLayout {
    const key = bindings.map(({ binding, access }) => `${binding} ${access}`).join();
    const known = this.#layouts.get(key);
    if (known) return known;
    const group = this.#device.createBindGroupLayout({
      entries: [
        { binding: 0, visibility: COMPUTE, buffer: { type: 'uniform', hasDynamicOffset: true } },
        ...bindings.map(({ binding, access }): GPUBindGroupLayoutEntry => {
          const type = access === 'read' ? 'read-only-storage' : 'storage';
          return { binding, visibility: COMPUTE, buffer: { type } };
        }),
      ],
    });
    const pipeline = this.#device.createPipelineLayout({ bindGroupLayouts: [group] });
    const layout = { id: this.#layouts.size, group, pipeline };
    this.#layouts.set(key, layout);
    return layout;
  }
}

/** Kernels by shader and constants: each is compiled once. */
export class Kernels {
  readonly #device: GPUDevice;
  readonly #layouts: KernelLayouts;
  readonly #turns = new CompileTurns();
  readonly #kernels = new Map<string, Kernel>();

  constructor(device: GPUDevice) {
    this.#device = device;
    this.#layouts = new KernelLayouts(device);
  }

  get(shader: ShaderName, constants: ShaderConstants = {}): Kernel {
    const names = Object.keys(constants);
    const key =
      names.length === 0 ? shader : `${shader} ${names.map((name) => `${name}=${constants[name]}`).join(' ')}`;
    const known = this.#kernels.get(key);
    if (known) return known;
    const makers = { layouts: this.#layouts, turns: this.#turns };
    const kernel = new Kernel(this.#device, key, expandShader(shader, SHADERS, constants), makers);
    this.#kernels.set(key, kernel);
    return kernel;
  }

  /** Compiles none any more: see {@link CompileTurns.end}. */
  end(error: Error, onIdle: () => void): void {
    this.#turns.end(error, onIdle);
  }
}

function readFields(code: string): Kernel['fields'] {
  const [, body = ''] = code.match(/struct Params \{([^}]*)\}/) ?? [];
  const fields = body.replaceAll(/\/\/.*/g, '').matchAll(/(\w+)\s*:\s*(u32|i32|f32)/g);
  return [...fields].map(([, name, type]) => ({ name, type: type as ParamType }));
}

function readBindings(code: string): Kernel['bindings'] {
  const declarations = code.matchAll(/@binding\((\d+)\)\s*var<storage,\s*(read|read_write)>\s*(\w+)/g);
  return [...declarations].map(([, binding, access, name]) => ({
    ...{ binding: Number(binding), name, access: access as BindingAccess },
  }));
}

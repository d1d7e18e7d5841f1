import { GpuError } from '../../../errors.ts';
import {
  declared,
  expandShader,
  type ShaderBinding,
  type ShaderConstants,
  type ShaderField,
} from '../shaders/shader-text.ts';
import { SHADER_TEXTS, SHADERS, type ShaderArguments } from '../shaders/shaders.generated.ts';
import { CompileTurns } from './compile-turns.ts';

export type ShaderName = keyof ShaderArguments;

const MAX_FLOAT32 = (2 - 2 ** -23) * 2 ** 127;

/** A shader made for some constants and fixed numbers. */
export class Kernel {
  /** Name of the shader, with its constants. */
  readonly name: string;
  readonly layout: KernelLayout;
  /** Fields of `Params`, which lies at binding 0 unless it has none. */
  readonly params: readonly ShaderField[];
  readonly bindings: readonly ShaderBinding[];
  /** undefined until it is compiled. */
  pipeline: GPUComputePipeline | undefined;
  /** Settles when the kernel is compiled, or failed to. */
  readonly ready: Promise<void>;

  constructor(device: GPUDevice, name: string, { code, params, bindings }: KernelText, makers: KernelMakers) {
    this.name = name;
    this.params = params;
    this.bindings = bindings;
    this.layout = makers.layouts.get(bindings, params.length > 0);
    this.ready = makers.turns.take(() => this.#compile(device, code));
    // A failure concerns only those that await the kernel: without this it would be an unhandled rejection.
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

/** The layout that kernels with the same kinds of bindings share. */
export interface KernelLayout {
  readonly id: number;
  readonly group: GPUBindGroupLayout;
  readonly pipeline: GPUPipelineLayout;
}

const COMPUTE = 0x4;
const PARAMS_ENTRY: GPUBindGroupLayoutEntry = {
  binding: 0,
  visibility: COMPUTE,
  buffer: { type: 'uniform', hasDynamicOffset: true },
};

export class KernelLayouts {
  readonly #device: GPUDevice;
  readonly #layouts = new Map<string, KernelLayout>();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  get(bindings: readonly ShaderBinding[], hasParams: boolean): KernelLayout {
    const key = `${hasParams} ${bindings.map(({ binding, access }) => `${binding} ${access}`).join()}`;
    const known = this.#layouts.get(key);
    if (known) return known;
    const group = this.#device.createBindGroupLayout({
      entries: [
        ...(hasParams ? [PARAMS_ENTRY] : []),
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

/** WGSL with its declarations. */
interface KernelText {
  readonly code: string;
  readonly params: readonly ShaderField[];
  readonly fixed: readonly ShaderField[];
  readonly bindings: readonly ShaderBinding[];
}

/** Kernels by shader, constants and fixed numbers: each is compiled once. */
export class GpuKernels {
  readonly #device: GPUDevice;
  readonly #layouts: KernelLayouts;
  readonly #turns = new CompileTurns();
  /** Texts by shader and constants: their fixed numbers are not filled in. */
  readonly #texts = new Map<string, KernelText>();
  readonly #kernels = new Map<string, Kernel>();

  constructor(device: GPUDevice) {
    this.#device = device;
    this.#layouts = new KernelLayouts(device);
  }

  /**
   * The kernel of a shader for these constants. `Lowering.dispatch` sees to it that the shader's arguments are
   * complete.
   * @param fixed numbers that are the same whenever a model runs the kernel, which is therefore compiled for them and
   * need not wait for them when it begins. Numbers that the shader does not declare for these constants are ignored.
   */
  get(shader: ShaderName, constants: ShaderConstants, fixed: Readonly<Record<string, number>>): Kernel {
    const variant = [shader, ...Object.entries(constants).map(([name, value]) => `${name}=${value}`)].join(' ');
    const text = this.#texts.get(variant) ?? readText(shader, constants);
    this.#texts.set(variant, text);
    const literals = text.fixed.map(({ name, type }) => literal(type, fixed[name]));
    const key = literals.length === 0 ? variant : `${variant} FIXED=${literals}`;
    const known = this.#kernels.get(key);
    if (known) return known;
    const code = text.code.replace('Fixed()', `Fixed(${literals})`);
    const makers = { layouts: this.#layouts, turns: this.#turns };
    const kernel = new Kernel(this.#device, key, { ...text, code }, makers);
    this.#kernels.set(key, kernel);
    return kernel;
  }

  /** Compiles none any more: see {@link CompileTurns.end}. */
  end(error: Error, onIdle: () => void): void {
    this.#turns.end(error, onIdle);
  }
}

function readText(shader: ShaderName, constants: ShaderConstants): KernelText {
  const { params, fixed, bindings } = SHADERS[shader];
  return {
    code: expandShader(shader, SHADER_TEXTS, constants),
    params: declared(params, constants),
    fixed: declared(fixed, constants),
    bindings: declared(bindings, constants),
  };
}

/** A number as WGSL has it, which knows no infinity. */
function literal(type: ShaderField['type'], value: number): string {
  if (type === 'f32') return `${Math.fround(Math.min(Math.max(value, -MAX_FLOAT32), MAX_FLOAT32))}f`;
  return type === 'u32' ? `${value}u` : `${value}i`;
}

import { GpuError } from '../../../errors.ts';
import { SHADERS } from '../shaders/shaders.generated.ts';
import { CompileTurns } from './compile-turns.ts';
import { expandShader, type ShaderConstants } from './shader-template.ts';

export type ShaderName = keyof typeof SHADERS;
export type BindingAccess = 'read' | 'read_write';
export type ParamType = 'u32' | 'i32' | 'f32';

const MAX_FLOAT32 = (2 - 2 ** -23) * 2 ** 127;

/** A structure's fields, in order, as a shader's text declares them. */
type Fields = readonly { readonly name: string; readonly type: ParamType }[];

/**
 * A shader of one operation, made for some constants. Its text says what it is bound to: `params`, a uniform structure of
 * numbers, at binding 0 (unless there are none), and storage buffers from binding 1 on.
 */
export class Kernel {
  readonly name: string;
  readonly layout: KernelLayout;
  /** Of `params`. */
  readonly fields: Fields;
  readonly bindings: readonly KernelBinding[];
  /** undefined until it is compiled. */
  pipeline: GPUComputePipeline | undefined;
  /** Settles when it is. */
  readonly ready: Promise<void>;

  constructor(device: GPUDevice, name: string, code: string, { layouts, turns }: KernelMakers) {
    this.name = name;
    this.fields = readFields(code, 'Params');
    this.bindings = readBindings(code);
    this.layout = layouts.get(this.bindings, this.fields.length > 0);
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

  get(bindings: readonly KernelBinding[], hasParams: boolean): KernelLayout {
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

/** A shader's text for some constants, but for its `fixed`. */
interface KernelText {
  readonly code: string;
  readonly fields: Fields;
}

/** Kernels by shader, constants and fixed numbers: each is compiled once. */
export class Kernels {
  readonly #device: GPUDevice;
  readonly #layouts: KernelLayouts;
  readonly #turns = new CompileTurns();
  readonly #texts = new Map<string, KernelText>();
  readonly #kernels = new Map<string, Kernel>();

  constructor(device: GPUDevice) {
    this.#device = device;
    this.#layouts = new KernelLayouts(device);
  }

  /**
   * @param fixed by the names in the shader's `Fixed`: numbers that are the same whenever a model runs it, for which nothing
   * that it begins with must wait.
   */
  get(shader: ShaderName, constants: ShaderConstants = {}, fixed: Readonly<Record<string, number>> = {}): Kernel {
    const variant = [shader, ...Object.keys(constants).map((name) => `${name}=${constants[name]}`)].join(' ');
    const text = this.#texts.get(variant) ?? readText(expandShader(shader, SHADERS, constants));
    this.#texts.set(variant, text);
    const numbers = text.fields.map(({ name, type }) => literal(variant, name, type, fixed[name]));
    const key = numbers.length === 0 ? variant : `${variant} FIXED=${numbers}`;
    const known = this.#kernels.get(key);
    if (known) return known;
    const makers = { layouts: this.#layouts, turns: this.#turns };
    const kernel = new Kernel(this.#device, key, text.code.replace('Fixed()', `Fixed(${numbers})`), makers);
    this.#kernels.set(key, kernel);
    return kernel;
  }

  /** Compiles none any more: see {@link CompileTurns.end}. */
  end(error: Error, onIdle: () => void): void {
    this.#turns.end(error, onIdle);
  }
}

function readText(code: string): KernelText {
  return { code, fields: readFields(code, 'Fixed') };
}

/** A number as WGSL has it, which knows no infinity. */
function literal(kernel: string, name: string, type: ParamType, value: number | undefined): string {
  if (value === undefined) throw new GpuError(`The shader '${kernel}' was given no number '${name}'.`);
  if (type === 'f32') return `${Math.fround(Math.min(Math.max(value, -MAX_FLOAT32), MAX_FLOAT32))}f`;
  return type === 'u32' ? `${value}u` : `${value}i`;
}

function readFields(code: string, structure: 'Params' | 'Fixed'): Fields {
  const [, body = ''] = code.match(new RegExp(`struct ${structure} \\{([^}]*)\\}`)) ?? [];
  const fields = body.replaceAll(/\/\/.*/g, '').matchAll(/(\w+)\s*:\s*(u32|i32|f32)/g);
  return [...fields].map(([, name, type]) => ({ name, type: type as ParamType }));
}

function readBindings(code: string): Kernel['bindings'] {
  const declarations = code.matchAll(/@binding\((\d+)\)\s*var<storage,\s*(read|read_write)>\s*(\w+)/g);
  return [...declarations].map(([, binding, access, name]) => ({
    ...{ binding: Number(binding), name, access: access as BindingAccess },
  }));
}

import type { StoredTensor } from '../../files/stored-tensor.ts';
import type { JsonObject } from '../../json/json.ts';
import type { Exclusions } from './exclusions.ts';
import type { CodesPlace, QuantizedModule } from './quantized-module.ts';
import type { QuantizedTensor } from './quantized-tensor.ts';

/** How one tool stores quantised weights, as its config says. */
export interface QuantizationMethod {
  /** Name of the method in reports. */
  readonly name: string;
  readonly exclusions?: Exclusions | undefined;
  /** Whether the tool may give layers a bias of zeros that the model does not have. Default: false. */
  readonly addsBiases?: boolean | undefined;
  /** The weight that this tensor holds the codes of; undefined: it is not one of codes. */
  place(name: string, tensor: StoredTensor): CodesPlace | undefined;
  /**
   * Makes a weight of its codes and what belongs to them. Throws what is wrong about them: MissingTensorError,
   * WeightShapeError, WeightDTypeError, ConfigError.
   */
  open(module: QuantizedModule): Promise<QuantizedTensor>;
  /** Undoes what the tool changes about a model besides its weights' numbers. @throws ConfigError */
  restore?(tensors: ReadonlyMap<string, StoredTensor>, config: JsonObject): Restored;
}

/** A model as it was before a tool changed names, shapes or factors. */
export interface Restored {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly config: JsonObject;
}

/** Scales, zero points and the like: they are named after the weight that they belong to. */
const COMPANION = /[._](?:scales?|scale_inv|scale_2|global_scale|zero_point|g_idx|packed|shape)$/;

/** The weight whose codes are in a tensor of its own name. Stacks of experts may have no `.weight` in theirs. */
export function samePlace(name: string): CodesPlace | undefined {
  return COMPANION.test(name) ? undefined : { prefix: name.replace(/\.weight$/, ''), weight: name };
}

/** The weight whose codes are in a tensor that ends with another word than `weight`. */
export function renamedPlace(name: string, suffix: string): CodesPlace | undefined {
  if (!name.endsWith(`.${suffix}`)) return undefined;
  const prefix = name.slice(0, -suffix.length - 1);
  return { prefix, weight: `${prefix}.weight` };
}

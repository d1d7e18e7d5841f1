import { ConfigError } from '../../../errors.ts';
import { E2M1, E4M3, E8M0 } from '../../../tensor/small-floats.ts';
import type { ConfigReader } from '../../json/config-reader.ts';
import { packedCodes } from '../decode/codes.ts';
import { type QuantizationMethod, samePlace } from '../weights/quantization-method.ts';
import { perGroup, type QuantizedModule } from '../weights/quantized-module.ts';
import type { QuantizedTensor } from '../weights/quantized-tensor.ts';
import { restoreMlxModel } from './mlx-models.ts';

const MODES = ['affine', 'mxfp4', 'nvfp4', 'mxfp8'] as const;

interface Settings {
  readonly mode: (typeof MODES)[number];
  readonly bits: number;
  readonly groupSize: number;
}

/** Modes of floats: their codes, and the scales of their groups. */
const FLOATS = {
  mxfp4: { bits: 4, groupSize: 32, code: 'E2M1', values: E2M1, scales: E8M0 },
  nvfp4: { bits: 4, groupSize: 16, code: 'E2M1', values: E2M1, scales: E4M3 },
  mxfp8: { bits: 8, groupSize: 32, code: 'E4M3', values: E4M3, scales: E8M0 },
} as const;

/**
 * MLX: codes of 2 to 8 bits one after another in words of 32 bits, in `weight` itself; `scales` and, in the affine mode,
 * `biases` for each group. `quantization` in config.json has the settings of all layers, and those of some by their names.
 */
export function mlxMethod(config: ConfigReader): QuantizationMethod {
  const common = readSettings(config);
  return {
    name: `MLX ${common.mode} ${common.bits} bits`,
    place: (name, tensor) => (tensor.dtype === 'U32' && name.endsWith('.weight') ? samePlace(name) : undefined),
    open: (module) => openLayer(module, settingsOf(module, config, common)),
    restore: restoreMlxModel,
  };
}

function readSettings(config: ConfigReader, fallback?: Settings): Settings {
  const mode = config.oneOf('mode', MODES, { default: fallback?.mode ?? 'affine' });
  const floats = mode === 'affine' ? undefined : FLOATS[mode];
  const bits = config.integer('bits', { min: 2, max: 8, default: floats?.bits ?? fallback?.bits });
  const groupSize = config.integer('group_size', { min: 1, default: floats?.groupSize ?? fallback?.groupSize ?? 64 });
  if (bits === 7 || (floats !== undefined && bits !== floats.bits)) {
    throw new ConfigError(`${config.fileName}: MLX has no ${bits} bits in the mode ${mode}.`);
  }
  return { mode, bits, groupSize };
}

/** A layer's own settings are under its name; `true` there stands for those of all, `false` for none. */
function settingsOf({ prefix, codesName }: QuantizedModule, config: ConfigReader, common: Settings): Settings {
  if (!config.has(prefix) || config.isBoolean(prefix)) {
    if (!config.isBoolean(prefix) || config.boolean(prefix)) return common;
    throw new ConfigError(
      `${config.fileName}: '${prefix}' is false, but '${codesName}' is quantized.`,
      'Compare with the file of the original model.',
    );
  }
  const own = config.section(prefix);
  return own === undefined ? common : readSettings(own, common);
}

function openLayer(module: QuantizedModule, { mode, bits, groupSize }: Settings): Promise<QuantizedTensor> {
  module.checkMatrix();
  const { codes } = module;
  const columns = (codes.shape[codes.shape.length - 1] * 32) / bits;
  const shape = [...codes.shape.slice(0, -1), columns];
  module.checkGroups(columns, groupSize);
  const floats = mode === 'affine' ? undefined : FLOATS[mode];
  const scales = module.require('scales');
  const biases = floats === undefined ? module.require('biases') : undefined;
  module.checkDType(scales, floats === undefined ? ['F32', 'BF16', 'F16'] : ['U8']);
  if (biases !== undefined) module.checkDType(biases, ['F32', 'BF16', 'F16']);
  return module.scaled(
    shape,
    {
      format: floats === undefined ? `MLX int${bits}` : `MLX ${mode}`,
      code: floats?.code ?? 'uint',
      bits,
      rowsPerScale: 1,
      columnsPerScale: groupSize,
      scale: floats === undefined ? scales.tensor.dtype : floats.scales === E8M0 ? 'E8M0' : 'E4M3',
      offset: biases === undefined ? 'none' : 'bias',
      isReordered: false,
      order: 'rows',
    },
    {
      columns,
      codes: packedCodes(codes, { bits, columns, values: floats?.values ?? 0 }),
      scales: module.factors(scales, shape, perGroup(groupSize), { values: floats?.scales }),
      biases: biases && module.factors(biases, shape, perGroup(groupSize)),
      columnsPerScale: groupSize,
    },
  );
}

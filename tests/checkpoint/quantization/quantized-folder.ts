import { ReferenceBackend } from '../../../src/backends/reference/reference-backend.ts';
import { singleProcess } from '../../../src/distributed/process-group.ts';
import { LayerContext } from '../../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../../src/layers/parameters/parameter.ts';
import { defineModel } from '../../../src/models/registry.ts';
import { elementCount } from '../../../src/tensor/tensor.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { makeFolder } from '../folders.ts';
import type { QuantizationCase } from './cases.ts';
import { bytesOf, type RawTensor, rawSafetensors } from './raw-safetensors.ts';

const CONFIG = {
  ...{ architectures: ['Mamba2ForCausalLM'], model_type: 'mamba2', hidden_size: 256, expand: 2, head_dim: 16 },
  ...{ num_heads: 32, state_size: 16, n_groups: 1, vocab_size: 64, num_hidden_layers: 1, conv_kernel: 4 },
  ...{ tie_word_embeddings: true, use_bias: false, use_conv_bias: true, layer_norm_epsilon: 1e-5 },
};

/** Folder of a model whose projections are quantised, of rows that are whole blocks, and whose embeddings are bfloat16. */
export async function quantizedFolder({ pack, config, files }: QuantizationCase): Promise<string> {
  const table = new ParameterTable(
    defineModel(CONFIG).create(new LayerContext(new ReferenceBackend(), singleProcess, 'float32')),
  );
  const tensors = table.names().flatMap((name, seed): readonly RawTensor[] => {
    const shape = table.shape(name);
    const data = new SeededRandom(seed).floats(elementCount(shape), -0.5, 0.5);
    if (/_proj\.weight$/.test(name)) {
      return pack(name.replace(/\.weight$/, ''), { rows: shape[0], columns: shape[1], data }).tensors;
    }
    if (!name.includes('embeddings')) return [{ name, dtype: 'F32', shape, bytes: bytesOf(data) }];
    const halves = Uint16Array.from(new Uint32Array(data.buffer), (word) => word >>> 16);
    return [{ name, dtype: 'BF16', shape, bytes: bytesOf(halves) }];
  });
  return makeFolder({
    'config.json': { ...CONFIG, ...config },
    'model.safetensors': rawSafetensors(tensors),
    ...files,
  });
}

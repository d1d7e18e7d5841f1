import { readFile } from 'node:fs/promises';
import { openFile } from '../../../src/checkpoint/files/file-source.ts';
import { SafetensorsFile } from '../../../src/checkpoint/safetensors/safetensors.ts';
import { modelFolder, type NamedTensor } from '../../models/model-folders.ts';
import { hybridFolder } from '../hybrid-folders.ts';

/** A tiny random model with layers for multi-token prediction, whose guesses were computed in float64. */
export const GOLDEN_MTP = hybridFolder('variants/nemotron-mtp');

/** Matrices at the ends of layers: without them, only the embeddings reach the head. */
const ENDS = /mixer\.(?:.*\.)?(?:out_proj|o_proj|down_proj|fc2_latent_proj)\.(?:weight|bias)$/;

/**
 * That model with layers that add less, and with layers for multi-token prediction that begin with a token's embedding: then
 * their guesses are right as often as the layers matter little, and always where they add nothing.
 * @param share how much of what the layers add is left.
 */
export async function predictingFolder(share: number): Promise<string> {
  const config = JSON.parse(await readFile(`${GOLDEN_MTP}/config.json`, 'utf8'));
  const source = await openFile(`${GOLDEN_MTP}/model.safetensors`);
  try {
    const file = await SafetensorsFile.open(source);
    const tensors: NamedTensor[] = [];
    const values = async (name: string) => file.readFloat32(name);
    for (const [name, { shape }] of file.tensors) {
      let data = await values(name);
      if (ENDS.test(name)) data = data.map((value) => share * value);
      if (name === 'mtp.layers.0.enorm.weight') data = data.fill(1);
      if (name === 'mtp.layers.1.final_layernorm.weight') data = await values('backbone.norm_f.weight');
      if (name === 'mtp.layers.0.eh_proj.weight')
        data = data.map((_, i) => (i % shape[1] === Math.floor(i / shape[1]) ? 1 : 0));
      tensors.push({ name, shape, data });
    }
    return await modelFolder(config, tensors);
  } finally {
    await source.close();
  }
}

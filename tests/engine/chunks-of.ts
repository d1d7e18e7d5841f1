import type { LLM } from '../../src/engine/llm.ts';
import type { GenerationChunk } from '../../src/engine/request/generation-chunk.ts';
import type { Prompt } from '../../src/engine/request/prompt.ts';
import type { GenerateOptions } from '../../src/engine/sample/sampling-params.ts';

/** All chunks of a generation. */
export async function chunksOf(llm: LLM, prompt: Prompt, options: GenerateOptions): Promise<GenerationChunk[]> {
  const chunks: GenerationChunk[] = [];
  for await (const chunk of llm.generate(prompt, options)) chunks.push(chunk);
  return chunks;
}

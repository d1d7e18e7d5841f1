import { resolveModel } from '../../checkpoint/model-source.ts';
import { defineCommand } from '../options/command.ts';
import { flag, text } from '../options/option.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { ProgressDisplay } from '../terminal/progress-display.ts';
import { print } from '../terminal/standard-output.ts';

/** `mamba2 pull` */
export const pull = defineCommand({
  details: [
    'Files go to the cache that Python uses too (HF_HUB_CACHE, HF_HOME). Files that are there are not fetched again,',
    'and an interrupted download resumes. HF_TOKEN gives access to gated models. Of a repository of models in GGUF it',
    'fetches one: that of the quantization after the colon, else Q4_K_M, Q8_0 or the only one.',
  ].join(' '),
  options: {
    revision: text('revision', 'Branch, tag or commit (default: main)'),
    quiet: flag('No progress', 'q'),
  },
  examples: ['pull org/name', 'pull org/name --revision v1.0', 'pull org/name-GGUF:Q4_K_M'],
  run: async ({ revision, quiet }, [id]) => {
    const interrupt = new Interrupt();
    const progress = new ProgressDisplay(quiet);
    try {
      const folder = await resolveModel(id, { revision, signal: interrupt.signal, onProgress: progress.onProgress });
      progress.stop();
      await print(`${folder}\n`);
      return 0;
    } finally {
      progress.stop();
      interrupt.close();
    }
  },
});

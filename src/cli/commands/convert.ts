import { basename, resolve } from 'node:path';
import { openModelSource } from '../../checkpoint/model-source.ts';
import { convertModel } from '../conversion/convert-model.ts';
import { CONVERTED_DTYPES } from '../conversion/matrix-encoder.ts';
import { defineCommand } from '../options/command.ts';
import { choice, flag, text } from '../options/option.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { warn } from '../terminal/notes.ts';
import { ProgressDisplay } from '../terminal/progress-display.ts';
import { print } from '../terminal/standard-output.ts';

/** `mamba2 convert` */
export const convert = defineCommand({
  details: [
    'The model is whatever can be loaded: a folder, a GGUF file, a bundled name or a hub id. The new folder holds the values that',
    "the dtype has in memory, so that nothing is quantized when it is loaded: int8 and int4 in compressed-tensors' format, which",
    'Python reads too. Prints the folder.',
  ].join(' '),
  options: {
    dtype: choice(CONVERTED_DTYPES, 'Dtype of the matrices (default: int8)'),
    out: text('folder', 'Folder to make (default: the name of the model with the dtype, here)', 'o'),
    revision: text('revision', 'Branch, tag or commit of a hub model (default: main)'),
    quiet: flag('No progress and no notes', 'q'),
  },
  examples: ['convert tiny-dts --dtype int4', 'convert org/name --dtype int8 --out name-int8'],
  run: async ({ dtype = 'int8', out, revision, quiet }, [source]) => {
    const folder = resolve(out ?? `${basename(source).replace(/[@:].*$|\.gguf$/, '')}-${dtype}`);
    const progress = new ProgressDisplay(quiet);
    const interrupt = new Interrupt();
    const { signal } = interrupt;
    try {
      const files = await openModelSource(source, { revision, signal, onProgress: progress.onProgress });
      const onValues = (done: number, total: number) => progress.show('Converting weights', done, total);
      const { unpacked } = await convertModel(files, { dtype, out: folder, signal, onValues });
      progress.stop();
      if (unpacked.length > 0 && !quiet) {
        warn(
          `${unpacked.length} matrices have columns that no groups divide, such as '${unpacked[0]}': they are float32.`,
        );
      }
      await print(`${folder}\n`);
      return 0;
    } finally {
      progress.stop();
      interrupt.close();
    }
  },
});

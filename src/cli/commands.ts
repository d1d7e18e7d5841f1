import type { CliCommand } from './options/command.ts';

/**
 * A command in the list of commands. Its code is loaded when it is called, so that the others cost no time at the
 * start.
 */
export interface CommandEntry {
  readonly name: string;
  /** Line in the list of commands. */
  readonly summary: string;
  /** `<needed>`, `[optional]`, `[several...]`. */
  readonly positionals: readonly string[];
  load(): Promise<CliCommand>;
}

export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'generate',
    summary: 'Continue a prompt',
    positionals: ['[prompt]'],
    load: async () => (await import('./commands/generate.ts')).generate,
  },
  {
    name: 'chat',
    summary: 'Talk with a model on the terminal',
    positionals: ['[model]'],
    load: async () => (await import('./commands/chat.ts')).chat,
  },
  {
    name: 'serve',
    summary: "Serve a model with OpenAI's API",
    positionals: ['[model]'],
    load: async () => (await import('./commands/serve.ts')).serve,
  },
  {
    name: 'inspect',
    summary: 'Show what a model is and what it needs, without loading its weights',
    positionals: ['<model>'],
    load: async () => (await import('./commands/inspect.ts')).inspect,
  },
  {
    name: 'pull',
    summary: 'Download a model from the Hugging Face hub and print its folder',
    positionals: ['<id>'],
    load: async () => (await import('./commands/pull.ts')).pull,
  },
  {
    name: 'convert',
    summary: 'Write a model with int8, int4 or bfloat16 weights as a folder',
    positionals: ['<model>'],
    load: async () => (await import('./commands/convert.ts')).convert,
  },
  {
    name: 'list',
    summary: 'List the local models: those of the Hugging Face cache, and the bundled one',
    positionals: [],
    load: async () => (await import('./commands/list.ts')).list,
  },
  {
    name: 'rm',
    summary: 'Remove a model from the Hugging Face cache',
    positionals: ['<id>'],
    load: async () => (await import('./commands/rm.ts')).remove,
  },
  {
    name: 'eval',
    summary: 'Measure how well a model predicts text files',
    positionals: ['[file...]'],
    load: async () => (await import('./commands/eval.ts')).evaluate,
  },
  {
    name: 'bench',
    summary: 'Measure how quickly a model runs, and how close to what the machine allows',
    positionals: ['[model]'],
    load: async () => (await import('./commands/bench.ts')).bench,
  },
  {
    name: 'completion',
    summary: 'Print a script that completes command lines in bash, zsh or fish',
    positionals: ['<shell>'],
    load: async () => (await import('./commands/completion.ts')).completion,
  },
];

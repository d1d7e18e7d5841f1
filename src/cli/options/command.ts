import { flag, type Options, type Values } from './option.ts';

/** Definition of a command: its options, its help, and its function. */
interface Definition<O extends Options> {
  readonly options: O;
  /** Paragraphs for the command's help. */
  readonly details: string;
  /** Command lines without the program's name. */
  readonly examples: readonly string[];
  /** → exit code. @throws UsageError, and every error that the command meets */
  run(values: Values<O & typeof commonOptions>, positionals: readonly string[]): Promise<number>;
}

/** A command whose options may be any. */
export interface CliCommand extends Omit<Definition<Options>, 'run'> {
  run(values: Values<Options>, positionals: readonly string[]): Promise<number>;
}

/** Options that every command has. */
const commonOptions = { verbose: flag('Show the stack of errors') };

/** Makes a command of its definition; the types of the values that `run` gets follow from `options`. */
export function defineCommand<const O extends Options>(definition: Definition<O>): CliCommand {
  return { ...definition, options: { ...definition.options, ...commonOptions } };
}

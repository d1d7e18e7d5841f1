import { parseArguments } from './arguments.ts';
import { flag, type Options, type Values } from './option.ts';
import { UsageError } from './usage-error.ts';

/** What a command says about itself. */
interface Definition<O extends Options> {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Positional arguments by their names; a name that ends with '?' may be left out, one with '*' be given any number of times. */
  readonly positionals: readonly string[];
  readonly options: O;
  /** Paragraphs for the command's own help. */
  readonly details: string;
  /** Command lines without the program's name. */
  readonly examples: readonly string[];
  /** → exit code */
  run(values: Values<O & typeof commonOptions>, positionals: readonly string[]): Promise<number>;
}

/** A command with its argument parsing inside. */
export interface Command extends Omit<Definition<Options>, 'run'> {
  /** → exit code. @throws UsageError, and whatever the command meets */
  run(argv: readonly string[]): Promise<number>;
}

/** Options that every command has. `help` and `verbose` are acted on before and after the command. */
const commonOptions = {
  verbose: flag('Show the stack of errors'),
  help: flag('Show this help', 'h'),
};

/** Makes a command of its definition; the types of `run`'s values follow from `options`. */
export function defineCommand<const O extends Options>(definition: Definition<O>): Command {
  const options = { ...definition.options, ...commonOptions };
  const { name, positionals: names } = definition;
  return {
    ...definition,
    options,
    run: async (argv) => {
      const { values, positionals } = parseArguments(options, argv);
      const missing = names[positionals.length];
      if (missing !== undefined && !/[?*]$/.test(missing)) {
        throw new UsageError(`'${name}' needs <${missing}>.`, `See mamba2 ${name} --help.`);
      }
      if (positionals.length > names.length && !names.at(-1)?.endsWith('*')) {
        const extra = positionals[names.length];
        throw new UsageError(
          `'${name}' does not know what to do with '${extra}'.`,
          'Put quotes around text with spaces.',
        );
      }
      return definition.run(values, positionals);
    },
  };
}

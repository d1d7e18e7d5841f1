import { CallArguments } from './call-arguments.ts';
import { equals, Func, type Kwargs, lengthOf, PyObject, TemplateError, Undefined, type Value } from './values.ts';

/** `loop` inside a for. It looks one item ahead only on request. */
export class Loop extends Func {
  override readonly typeName = 'LoopContext';
  readonly #over: Value;
  readonly #depth: number;
  #iterator: Iterator<Value>;
  #index = -1;
  #length: number | undefined;
  #ahead: IteratorResult<Value> | undefined;
  #previous: Value = null;
  #current: Value = null;
  #changed: readonly Value[] | undefined;

  /** @param recurse renders the loop's body for other items; undefined: the loop is not recursive. */
  constructor(
    over: Value,
    items: Iterable<Value>,
    depth: number,
    recurse: ((over: Value, depth: number) => Value) | undefined,
  ) {
    super('loop', (args, kwargs) => {
      if (recurse === undefined) {
        throw new TemplateError("The loop must have the 'recursive' marker to be called recursively.");
      }
      return recurse(new CallArguments('loop', ['iterable'], args, kwargs).value('iterable'), depth + 1);
    });
    this.#over = over;
    this.#depth = depth;
    this.#iterator = items[Symbol.iterator]();
  }

  /** The next item; undefined if there is none. */
  next(): { readonly item: Value } | undefined {
    const result = this.#peek();
    this.#ahead = undefined;
    if (result.done) return undefined;
    this.#index++;
    this.#previous = this.#current;
    this.#current = result.value;
    return { item: result.value };
  }

  #peek(): IteratorResult<Value> {
    this.#ahead ??= this.#iterator.next();
    return this.#ahead;
  }

  get length(): number {
    if (this.#length !== undefined) return this.#length;
    const known = lengthOf(this.#over);
    if (known !== undefined) {
      this.#length = known;
      return known;
    }
    const rest: Value[] = [];
    for (let result = this.#peek(); !result.done; result = this.#iterator.next()) rest.push(result.value);
    this.#iterator = rest.values();
    this.#ahead = undefined;
    this.#length = this.#index + 1 + rest.length;
    return this.#length;
  }

  override attribute(name: string): Value | undefined {
    switch (name) {
      case 'index':
        return this.#index + 1;
      case 'index0':
        return this.#index;
      case 'revindex':
        return this.length - this.#index;
      case 'revindex0':
        return this.length - this.#index - 1;
      case 'first':
        return this.#index === 0;
      case 'last':
        return this.#peek().done === true;
      case 'length':
        return this.length;
      case 'depth':
        return this.#depth + 1;
      case 'depth0':
        return this.#depth;
      case 'previtem':
        return this.#index === 0 ? new Undefined('there is no previous item') : this.#previous;
      case 'nextitem': {
        const result = this.#peek();
        return result.done ? new Undefined('there is no next item') : result.value;
      }
      case 'cycle':
        return new Func(name, (args) => this.#cycle(args));
      case 'changed':
        return new Func(name, (args) => this.#hasChanged(args));
      default:
        return undefined;
    }
  }

  override repr(): string {
    return `<LoopContext ${this.#index + 1}/${this.length}>`;
  }

  #cycle(args: readonly Value[]): Value {
    if (args.length === 0) throw new TemplateError('no items for cycling given');
    return args[this.#index % args.length];
  }

  #hasChanged(args: readonly Value[]): boolean {
    const last = this.#changed;
    if (last !== undefined && equals(last, args)) return false;
    this.#changed = args;
    return true;
  }
}

/** `cycler(…)`: cycles through its items, one at each call. */
export class Cycler extends PyObject {
  readonly typeName = 'Cycler';
  readonly #items: readonly Value[];
  #position = 0;

  constructor(items: readonly Value[]) {
    super();
    if (items.length === 0) throw new TemplateError('at least one item has to be provided');
    this.#items = items;
  }

  override attribute(name: string): Value | undefined {
    if (name === 'current') return this.#items[this.#position];
    if (name === 'next') return new Func(name, () => this.#next());
    if (name !== 'reset') return undefined;
    return new Func(name, () => {
      this.#position = 0;
      return null;
    });
  }

  #next(): Value {
    const item = this.#items[this.#position];
    this.#position = (this.#position + 1) % this.#items.length;
    return item;
  }
}

/** `joiner(…)`: nothing the first time, the separator from then on. */
export function joiner(args: readonly Value[], kwargs: Kwargs): Func {
  const separator = new CallArguments('joiner', ['sep?'], args, kwargs).value('sep', ', ');
  let used = false;
  return new Func('joiner', () => {
    const text = used ? separator : '';
    used = true;
    return text;
  });
}

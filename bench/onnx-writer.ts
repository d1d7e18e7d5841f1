/** A weight or constant: its values as little-endian bytes, made when they are written. */
export interface OnnxTensor {
  readonly name: string;
  readonly dims: readonly number[];
  readonly values: () => Float32Array | Int8Array | BigInt64Array;
}

export interface OnnxNode {
  readonly type: string;
  /** '' is ONNX's own. */
  readonly domain: string;
  /** Names; '' for one that is left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

export type OnnxAttribute =
  | string
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number };

/** An input or output of the graph; a text is an extent that may vary. */
export interface OnnxValue {
  readonly name: string;
  readonly type: 'float' | 'int64';
  readonly dims: readonly (number | string)[];
}

export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  readonly tensors: readonly OnnxTensor[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
}

const OPSETS: Readonly<Record<string, number>> = { '': 21, 'com.microsoft': 1 };
const IR_VERSION = 10;
const ELEMENT_TYPE = { float: 1, int8: 3, int64: 7 } as const;
const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, ints: 7 } as const;
/** Protocol buffers end where a signed int32 does. */
const MAX_BYTES = 2 ** 31 - 1;

/**
 * A model in ONNX's format, which is a protocol buffer. Numbers of fields are those of onnx.proto.
 * @throws Error where it is larger than the format allows
 */
export function encodeOnnx({ nodes, tensors, inputs, outputs }: OnnxGraph): Uint8Array {
  const opsets = Object.entries(OPSETS).map(([domain, version]) => message(8, [text(1, domain), integer(2, version)]));
  const graph = message(7, [
    ...nodes.map(encodeNode),
    text(2, 'model'),
    ...tensors.map(encodeTensor),
    ...inputs.map((value) => encodeValue(11, value)),
    ...outputs.map((value) => encodeValue(12, value)),
  ]);
  const { pieces, length } = joined([integer(1, IR_VERSION), ...opsets, graph]);
  if (length > MAX_BYTES) throw new Error(`The model takes ${length} bytes; an ONNX file holds ${MAX_BYTES}.`);
  return Buffer.concat(pieces, length);
}

function encodeNode({ type, domain, inputs, outputs, attributes }: OnnxNode): Field {
  return message(1, [
    ...inputs.map((name) => text(1, name)),
    ...outputs.map((name) => text(2, name)),
    text(4, type),
    ...Object.entries(attributes).map(([name, value]) => encodeAttribute(name, value)),
    text(7, domain),
  ]);
}

function encodeAttribute(name: string, value: OnnxAttribute): Field {
  if (typeof value === 'string') {
    return message(5, [text(1, name), text(4, value), integer(20, ATTRIBUTE_TYPE.string)]);
  }
  if ('ints' in value) {
    return message(5, [text(1, name), ...value.ints.map((int) => integer(8, int)), integer(20, ATTRIBUTE_TYPE.ints)]);
  }
  if ('int' in value) return message(5, [text(1, name), integer(3, value.int), integer(20, ATTRIBUTE_TYPE.int)]);
  return message(5, [text(1, name), float(2, value.float), integer(20, ATTRIBUTE_TYPE.float)]);
}

function encodeTensor({ name, dims, values }: OnnxTensor): Field {
  const data = values();
  const type = data instanceof Float32Array ? 'float' : data instanceof Int8Array ? 'int8' : 'int64';
  return message(5, [
    ...dims.map((extent) => integer(1, extent)),
    integer(2, ELEMENT_TYPE[type]),
    text(8, name),
    bytes(9, Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
  ]);
}

function encodeValue(field: number, { name, type, dims }: OnnxValue): Field {
  const shape = dims.map((extent) => message(1, [typeof extent === 'number' ? integer(1, extent) : text(2, extent)]));
  const tensorType = message(1, [integer(1, ELEMENT_TYPE[type]), message(2, shape)]);
  return message(field, [text(1, name), message(2, [tensorType])]);
}

/** An encoded field in pieces, so that weights are not copied on every level. */
interface Field {
  readonly pieces: readonly Uint8Array[];
  readonly length: number;
}

function joined(fields: readonly Field[]): Field {
  return {
    pieces: fields.flatMap(({ pieces }) => pieces),
    length: fields.reduce((sum, { length }) => sum + length, 0),
  };
}

function message(field: number, fields: readonly Field[]): Field {
  const { pieces, length } = joined(fields);
  const head = Buffer.from([...varint(field * 8 + 2), ...varint(length)]);
  return { pieces: [head, ...pieces], length: head.length + length };
}

function bytes(field: number, content: Uint8Array): Field {
  return message(field, [{ pieces: [content], length: content.length }]);
}

function text(field: number, content: string): Field {
  return bytes(field, Buffer.from(content));
}

function integer(field: number, value: number): Field {
  const piece = Buffer.from([...varint(field * 8), ...varint(value)]);
  return { pieces: [piece], length: piece.length };
}

function float(field: number, value: number): Field {
  const piece = Buffer.alloc(4);
  piece.writeFloatLE(value);
  const head = Buffer.from(varint(field * 8 + 5));
  return { pieces: [head, piece], length: head.length + 4 };
}

/** A negative one is written as the 64-bit two's complement that stands for it. */
function varint(value: number): number[] {
  const written: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest >= 0x80n; rest >>= 7n) written.push(Number(rest & 0x7fn) | 0x80);
  return [...written, Number(rest)];
}

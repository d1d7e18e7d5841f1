import {
  ChatTemplateError,
  ConfigError,
  deleteStoredModel,
  GgufError,
  JsonFileError,
  MissingTensorError,
  ModelNotFoundError,
  SafetensorsError,
  TokenizerError,
  UnexpectedTensorError,
  UnsupportedArchitectureError,
  WeightDTypeError,
  WeightShapeError,
} from '../index.ts';

/** Errors that another attempt would repeat, because the files themselves are unusable. */
const FAULTS_OF_FILES = [
  ChatTemplateError,
  ConfigError,
  GgufError,
  JsonFileError,
  MissingTensorError,
  ModelNotFoundError,
  SafetensorsError,
  TokenizerError,
  UnexpectedTensorError,
  UnsupportedArchitectureError,
  WeightDTypeError,
  WeightShapeError,
];

/** Deletes what a failed load has stored, unless another attempt can use it, as after an abort or a lost connection. */
export async function forgetFailedLoad(source: string, error: unknown): Promise<void> {
  if (FAULTS_OF_FILES.some((Fault) => error instanceof Fault)) await deleteStoredModel(source);
}

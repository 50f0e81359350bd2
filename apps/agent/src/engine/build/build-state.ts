/** Where a stage of a build stands: the image so far, and what its configuration is. */
import { BuildArgs, shellOf, variablesOf, type Image } from '#libs/images';
import type { ImageId } from '#libs/model';
import { createHash } from 'node:crypto';

export interface StageState {
  /** Absent: nothing yet, `FROM scratch`. */
  imageId?: ImageId;
  config: Image['config'];
  author: string;
  args: BuildArgs;
  /** The stage has had its own CMD. */
  commandSet: boolean;
  /** A step of the stage was not in the cache: those after it are not looked up any more. */
  cacheMissed: boolean;
}

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export function beginStage(image: Image | undefined, args: BuildArgs, noCache: boolean): StageState {
  const config = { ...image?.config };
  // The triggers are run now; the image that comes of it does not have them any more.
  delete config.OnBuild;
  if (!variablesOf(config.Env).has('PATH')) config.Env = [...(config.Env ?? []), `PATH=${defaultPath}`];
  return {
    ...(image === undefined ? {} : { imageId: image.id }),
    config,
    author: image?.author ?? '',
    args,
    commandSet: false,
    cacheMissed: noCache,
  };
}

/** What the words of an instruction may refer to: the image's variables over the arguments. */
export function variablesIn(state: StageState): Map<string, string> {
  const env = variablesOf(state.config.Env);
  return new Map([...state.args.variables(env, { withPredefined: false }), ...env]);
}

/** Of an instruction that runs no command: `/bin/sh -c #(nop)  ENV a=b`. */
export function noOperation(state: StageState, comment: string): string {
  return `${shellOf(state.config).join(' ')} #(nop) ${comment}`;
}

/** Two steps with the same key on the same image come to the same. */
export function buildKey(createdBy: string, config: Image['config'], more: readonly unknown[] = []): string {
  return createHash('sha256')
    .update(JSON.stringify([createdBy, config, ...more]))
    .digest('hex');
}

/** The port between an agent and its image store. */
import type { Digest, ImageId, RegistryAuth } from '#libs/model';
import type { Readable } from 'node:stream';
import type { CopyTarget } from './build/copy.js';
import type { Platform } from './content/platform.js';
import type { SourceTree } from './build/source/source-tree.js';

/** The part of an OCI image config that says how to run it. Docker's own field names. */
export interface ImageRunConfig {
  Entrypoint?: string[];
  Cmd?: string[];
  Env?: string[];
  User?: string;
  WorkingDir?: string;
  StopSignal?: string;
  /** What a shell form of a Dockerfile is run with. */
  Shell?: string[];
  /** Instructions for the Dockerfile that builds on this image. */
  OnBuild?: string[];
  ExposedPorts?: Record<string, object>;
  Volumes?: Record<string, object>;
  Labels?: Record<string, string>;
  Healthcheck?: {
    Test?: string[];
    Interval?: number;
    Timeout?: number;
    StartPeriod?: number;
    StartInterval?: number;
    Retries?: number;
  };
}

export interface Image {
  id: ImageId;
  /** Digest of the manifest this node knows the image by. */
  manifestDigest: Digest;
  /** `name:tag` in familiar form (`demo:1`, `localhost:5000/a/b:2`). */
  tags: string[];
  /** `name@sha256:...`. */
  repoDigests: string[];
  createdAtMs: number;
  architecture: string;
  variant?: string;
  os: string;
  author: string;
  dockerVersion: string;
  /** The image this one was built on here; absent for those that came from elsewhere. */
  parent?: ImageId;
  /** When a name was last given to it here; 0: never. */
  lastTaggedAtMs: number;
  /** Bytes of all unpacked layers. */
  sizeBytes: number;
  /** Bottom first. `sizeBytes` is that of the unpacked files. */
  layers: { digest: Digest; diffId: Digest; sizeBytes: number; mediaType: string }[];
  config: ImageRunConfig;
  history: { created?: string; created_by?: string; comment?: string; empty_layer?: boolean }[];
}

export type { RegistryAuth };

/** Another node that can serve blobs over the OCI distribution protocol, mutually authenticated. */
export interface PeerSource {
  /** `https://host:port` of the node's engine port. */
  baseUrl: string;
  /** TLS material for an undici Agent or node:https. */
  tls: { ca: string; cert: string; key: string; servername: string };
}

export interface ImportOptions {
  /** The name it gets. */
  reference?: string;
  /** Dockerfile instructions for its configuration. */
  changes: readonly string[];
  message: string;
  /** This machine's when absent. */
  architecture?: string;
}

/** A container that was made of an image. */
export interface ImageUse {
  container: string;
  running: boolean;
}

/** A repository that a search found. */
export interface SearchResult {
  name: string;
  description: string;
  starCount: number;
  isOfficial: boolean;
}

/** A line of Docker's progress stream. */
export interface Progress {
  status?: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
  stream?: string;
  /** What programs read: the digest of what was pushed, the id of what was built. */
  aux?: object;
}

export type ImageEvent = {
  type: 'pull' | 'push' | 'load' | 'save' | 'import' | 'tag' | 'untag' | 'delete';
  id: string;
  name: string;
  atMs: number;
};

/** A layer that is stored and unpacked. One that was made here is plain: its diff id is its blob's digest. */
export interface StoredLayer {
  digest: Digest;
  diffId: Digest;
  sizeBytes: number;
  mediaType: string;
}

/** One step on from an image: what it was made by, and what it brought. */
export interface NewImageStep {
  /** Absent: it begins with nothing. */
  parent?: ImageId;
  config: ImageRunConfig;
  /** Absent: no file was changed. */
  layer?: StoredLayer;
  createdAtMs: number;
  /** As `docker history` tells it. */
  createdBy: string;
  comment?: string;
  author?: string;
  /** The one below's, or this machine's, when absent. */
  architecture?: string;
  /** Under which a build finds it again. */
  buildKey?: string;
}

/** A piece of work that makes images here. What it made or holds stays until its end, named or not. */
export interface ImageWork {
  /** Keeps an image's blobs and layers. */
  hold(id: ImageId): void;
  findBuilt(parent: ImageId | undefined, buildKey: string): ImageId | undefined;
  /** A layer that an image has; `index` 0 is its bottom. */
  layerOf(id: ImageId, index: number): StoredLayer | undefined;
  /** Stores and unpacks a plain tar as a layer. */
  addLayer(tar: AsyncIterable<Buffer>, what: string): Promise<StoredLayer>;
  /** Makes a layer of a container's changes: the upper folder of its overlay. */
  packLayer(upperDir: string): Promise<StoredLayer>;
  /** An archive's plain bytes, whichever way it is compressed. */
  unpacked(archive: AsyncIterable<Buffer>, what: string): AsyncGenerator<Buffer>;
  /** The index of a plain tar, to copy files from. */
  sourceTree(tar: AsyncIterable<Buffer>): Promise<SourceTree>;
  /** The same of a path in an image; `layers` are its `rootLayers`. */
  imageTree(layers: readonly string[], path: string): Promise<SourceTree>;
  /** Where a path leads in an image. */
  lookUp(layers: readonly string[], path: string): Promise<CopyTarget>;
  addImage(step: NewImageStep): Promise<ImageId>;
  end(): Promise<void>;
}

export interface ImageStore {
  start(): Promise<void>;
  /** Ends pulls that are running; what is stored stays whole. */
  close(): Promise<void>;
  list(): readonly Image[];
  /** By reference (`demo`, `demo:1`, `demo:1@sha256:..`, `name@sha256:..`), full or unique short id. */
  find(reference: string): Image | undefined;
  /** Takes a docker-archive or an OCI layout, plain or gzip. Returns what it loaded. */
  load(archive: Readable, progress: (line: Progress) => void): Promise<Image[]>;
  /**
   * Makes an image present: from the peers named first, then from the registry. Work on one image is shared.
   * Rejects with `not-found` or `unavailable` in the registry's own words.
   */
  pull(
    reference: string,
    options: {
      auth?: RegistryAuth;
      peers?: PeerSource[];
      /** This machine's when it is not said. */
      platform?: Platform | undefined;
      progress?: (line: Progress) => void;
      signal?: AbortSignal;
    },
  ): Promise<Image>;
  /**
   * Sends an image to the registry its name says: one tag, or without one all tags of the repository. Blobs that the
   * registry has are not sent again.
   */
  push(
    reference: string,
    options: { auth?: RegistryAuth; progress?: (line: Progress) => void; signal?: AbortSignal },
  ): Promise<void>;
  /** Asks a registry whether it takes a name and a password: `unauthorized` when it does not. */
  checkLogin(request: { server: string; auth: RegistryAuth; signal?: AbortSignal }): Promise<void>;
  /** The tags that a repository has in its registry. */
  remoteTags(repository: string, options: { auth?: RegistryAuth; signal?: AbortSignal }): Promise<string[]>;
  /** Repositories whose name holds the term's words, in the registry the term begins with. */
  search(request: {
    term: string;
    limit: number;
    auth?: RegistryAuth;
    signal?: AbortSignal;
  }): Promise<SearchResult[]>;
  /**
   * The archive of `docker save`. Rejects with `not-found` before the first byte when a name is unknown; what the
   * archive needs is kept until it is read or destroyed.
   */
  save(names: readonly string[]): Promise<Readable>;
  /**
   * What a reference is now, without fetching layers: for `/distribution/{name}/json`. A name that this node or one of
   * the peers has loaded or tagged itself is answered from there, every other one by its registry.
   */
  describeRemote(
    reference: string,
    auth?: RegistryAuth,
    peers?: readonly PeerSource[],
  ): Promise<{
    mediaType: string;
    digest: Digest;
    size: number;
    platforms: { architecture: string; os: string }[];
  }>;
  /** Unpacks what is not unpacked yet; returns layer folders topmost first, for overlay lower dirs. */
  rootLayers(id: ImageId): Promise<string[]>;
  tag(source: string, target: string): Promise<void>;
  /**
   * Docker's answer lines of `rmi`. `conflict` when a container or another image needs it. Parents without a name go
   * along, unless `keepParents`.
   */
  remove(
    reference: string,
    options: {
      force: boolean;
      keepParents?: boolean;
      inUse: (id: ImageId) => ImageUse | undefined;
    },
  ): Promise<({ Untagged: string } | { Deleted: string })[]>;
  /** What a name stands for here: the digest of a manifest or an index, and whether it came from a registry. */
  resolve(reference: string): { digest: Digest; origin: 'registry' | 'local' } | undefined;
  /** A blob's bytes (manifest, config or layer) from an offset on, for peers. `sizeBytes` is the whole blob's. */
  readBlob(
    digest: Digest,
    fromByte?: number,
  ): { stream: Readable; sizeBytes: number; mediaType: string } | undefined;
  /** `docker import`: a root file system in a tar, compressed or not, becomes an image of one layer. */
  importArchive(archive: Readable, options: ImportOptions): Promise<ImageId>;
  /** Begins to make images. */
  work(): ImageWork;
  /** Direct children that were built on it here. */
  childrenOf(id: ImageId): ImageId[];
  watch(listener: (event: ImageEvent) => void): () => void;
}

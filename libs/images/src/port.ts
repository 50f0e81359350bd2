/** The port between an agent and its image store. */
import type { Digest, ImageId } from '#libs/model';
import type { Readable } from 'node:stream';

/** The part of an OCI image config that says how to run it. Docker's own field names. */
export interface ImageRunConfig {
  Entrypoint?: string[];
  Cmd?: string[];
  Env?: string[];
  User?: string;
  WorkingDir?: string;
  StopSignal?: string;
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
  os: string;
  /** Bytes of all unpacked layers. */
  sizeBytes: number;
  /** Bottom first. `sizeBytes` is that of the unpacked files. */
  layers: { digest: Digest; diffId: Digest; sizeBytes: number; mediaType: string }[];
  config: ImageRunConfig;
  history: { created?: string; created_by?: string; comment?: string; empty_layer?: boolean }[];
}

export interface RegistryAuth {
  username?: string;
  password?: string;
  identitytoken?: string;
}

/** Another node that can serve blobs over the OCI distribution protocol, mutually authenticated. */
export interface PeerSource {
  /** `https://host:port` of the node's engine port. */
  baseUrl: string;
  /** TLS material for an undici Agent or node:https. */
  tls: { ca: string; cert: string; key: string; servername: string };
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
  /** Docker's answer lines of `rmi`. `conflict` when `inUse` says so. */
  remove(
    reference: string,
    options: { force: boolean; inUse: (id: ImageId) => boolean },
  ): Promise<({ Untagged: string } | { Deleted: string })[]>;
  /** What a name stands for here: the digest of a manifest or an index, and whether it came from a registry. */
  resolve(reference: string): { digest: Digest; origin: 'registry' | 'local' } | undefined;
  /** A blob's bytes (manifest, config or layer) from an offset on, for peers. `sizeBytes` is the whole blob's. */
  readBlob(
    digest: Digest,
    fromByte?: number,
  ): { stream: Readable; sizeBytes: number; mediaType: string } | undefined;
  watch(listener: (event: ImageEvent) => void): () => void;
}

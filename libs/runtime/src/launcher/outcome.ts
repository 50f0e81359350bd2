/** What became of a launch, an exec or a held start. A refusal by the kernel is an expected outcome, not a throw. */
export type LaunchOutcome = LaunchSuccess | LaunchFailure;

export interface LaunchSuccess {
  ok: true;
  /** As the node sees it. */
  pid: number;
  startedAtMs: number;
}

export interface LaunchFailure {
  ok: false;
  /** The operation that failed, in words: `mount proc on /proc`, `exec "nginx"`. */
  step: string;
  /** 0 when the step was refused by the launcher itself. */
  errno: number;
  /** One line for users: step and reason. */
  message: string;
  /** What a shell would say: 127 not found, 126 cannot be run, 128 everything before the exec. */
  exitCode: number;
}

/** The user's rules, read through SwarmKit's defaults and turned into milliseconds. */
import {
  nanosecondsPerMillisecond,
  restartDefaults,
  stopGracePeriodDefault,
  updateDefaults,
  type RestartPolicy,
  type TaskSpec,
  type UpdateConfig,
} from '#libs/model';

export interface RestartRules {
  condition: NonNullable<RestartPolicy['Condition']>;
  delayMs: number;
  /** 0: no limit. */
  maxAttempts: number;
  /** 0: attempts count for ever. */
  windowMs: number;
}

export interface UpdateRules {
  /** Infinity when all slots may change at once. */
  parallelism: number;
  delayMs: number;
  failureAction: NonNullable<UpdateConfig['FailureAction']>;
  monitorMs: number;
  maxFailureRatio: number;
  order: NonNullable<UpdateConfig['Order']>;
}

export function restartRules(template: TaskSpec | undefined): RestartRules {
  const policy = template?.RestartPolicy;
  return {
    // Docker's clients send an empty condition for "not said".
    condition: policy?.Condition || restartDefaults.Condition,
    delayMs: milliseconds(policy?.Delay ?? restartDefaults.Delay),
    maxAttempts: policy?.MaxAttempts ?? restartDefaults.MaxAttempts,
    windowMs: milliseconds(policy?.Window ?? restartDefaults.Window),
  };
}

export function updateRules(config: UpdateConfig | undefined): UpdateRules {
  const parallelism = config?.Parallelism ?? updateDefaults.Parallelism;
  return {
    parallelism: parallelism === 0 ? Number.POSITIVE_INFINITY : parallelism,
    delayMs: milliseconds(config?.Delay ?? updateDefaults.Delay),
    failureAction: config?.FailureAction || updateDefaults.FailureAction,
    // A monitor time of 0 means "not said" in the API: watching for no time at all would see no failure.
    monitorMs: milliseconds(config?.Monitor || updateDefaults.Monitor),
    maxFailureRatio: config?.MaxFailureRatio ?? updateDefaults.MaxFailureRatio,
    order: config?.Order || updateDefaults.Order,
  };
}

export function stopGraceMs(template: TaskSpec | undefined): number {
  return milliseconds(template?.ContainerSpec?.StopGracePeriod ?? stopGracePeriodDefault);
}

function milliseconds(nanoseconds: number): number {
  return nanoseconds / nanosecondsPerMillisecond;
}

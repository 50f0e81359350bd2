/**
 * The placeholders a service's env, hostname and mount sources may hold: `{{.Service.Name}}` and its kin, as
 * SwarmKit's templates, without Go's template language around them.
 */
import { EnxameError } from '#libs/model';

export interface TemplateContext {
  service: { id: string; name: string; labels: Readonly<Record<string, string>> };
  node: { id: string; hostname: string; os: string; architecture: string };
  task: { id: string; name: string; slot: number };
}

const placeholder = /\{\{([\s\S]*?)\}\}/g;
const labelIndex = /^index\s+\.Service\.Labels\s+"([^"]*)"$/;

/** What the data of secrets and configs may ask for besides. */
export type TemplateFunctions = Readonly<Record<'secret' | 'config' | 'env', (name: string) => string>>;

const functionCall = /^(secret|config|env)\s+"([^"]*)"$/;

/** Fills in the placeholders. `invalid-argument` names the one that is not known. */
export function expandTemplate(
  text: string,
  context: TemplateContext,
  functions?: TemplateFunctions,
): string {
  return text.replace(placeholder, (whole, inner: string) => {
    const [, name, argument = ''] = functionCall.exec(inner.trim()) ?? [];
    if (functions !== undefined && name !== undefined)
      return functions[name as keyof TemplateFunctions](argument);
    return valueOf(inner.trim(), context, whole);
  });
}

function valueOf(expression: string, context: TemplateContext, whole: string): string {
  const indexed = labelIndex.exec(expression)?.[1];
  if (indexed !== undefined) return context.service.labels[indexed] ?? '';
  const labelPrefix = '.Service.Labels.';
  if (expression.startsWith(labelPrefix)) {
    return context.service.labels[expression.slice(labelPrefix.length)] ?? '';
  }
  switch (expression) {
    case '.Service.ID':
      return context.service.id;
    case '.Service.Name':
      return context.service.name;
    case '.Node.ID':
      return context.node.id;
    case '.Node.Hostname':
      return context.node.hostname;
    case '.Node.Platform.OS':
      return context.node.os;
    case '.Node.Platform.Architecture':
      return context.node.architecture;
    case '.Task.ID':
      return context.task.id;
    case '.Task.Name':
      return context.task.name;
    case '.Task.Slot':
      return String(context.task.slot);
    default:
      throw new EnxameError('invalid-argument', `template ${whole}: not a known field`);
  }
}

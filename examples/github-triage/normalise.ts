// A GitHub webhook in one shape, whatever its kind, and the team it goes to.

interface Webhook {
  action?: string
  sender?: { login?: string; type?: string }
  repository?: { full_name?: string; private?: boolean }
  organization?: { login?: string }
  [part: string]: any
}

const routes: Record<string, string> = {
  issues: 'triage',
  issue_comment: 'triage',
  discussion: 'triage',
  discussion_comment: 'triage',
  pull_request: 'review',
  pull_request_review: 'review',
  pull_request_review_comment: 'review',
  push: 'review',
  check_run: 'build',
  check_suite: 'build',
  workflow_run: 'build',
  workflow_job: 'build',
  status: 'build',
  deployment: 'build',
  deployment_status: 'build',
  code_scanning_alert: 'security',
  dependabot_alert: 'security',
  repository_vulnerability_alert: 'security',
  security_advisory: 'security',
}

export function main(kind: string, payload: Webhook) {
  const subject = payload.issue ?? payload.pull_request ?? payload.discussion ?? payload.alert ?? payload.release ?? {}
  const text: string = payload.comment?.body ?? payload.review?.body ?? subject.body ?? payload.head_commit?.message ?? ''
  return {
    kind,
    action: payload.action ?? 'none',
    route: routes[kind] ?? 'community',
    repository: payload.repository?.full_name ?? payload.organization?.login ?? 'none',
    private: payload.repository?.private ?? false,
    actor: payload.sender?.login ?? 'ghost',
    bot: payload.sender?.type === 'Bot' || /\[bot\]$/.test(payload.sender?.login ?? ''),
    title: subject.title ?? subject.name ?? payload.ref ?? kind,
    text: text.slice(0, 2_000),
    labels: (subject.labels ?? []).map((label: { name: string }) => label.name),
    conclusion: payload.workflow_run?.conclusion ?? payload.check_run?.conclusion ?? payload.state ?? null,
    size: (subject.additions ?? 0) + (subject.deletions ?? 0),
  }
}

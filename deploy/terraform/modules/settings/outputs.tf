output "values" {
  description = "Values of the chart, as YAML. Nothing in them is secret."
  value = yamlencode({ for key, value in {
    shop          = { stripe = { existingSecret = var.stripe_secret } }
    baseline      = { create = false }
    networkPolicy = { mode = var.network_policy_mode }
    monitoring    = { namespace = var.monitoring_namespace }
    entry = {
      kind      = var.entry.kind
      namespace = var.entry.namespace
      host      = var.entry.host
      tls       = { issuer = var.entry.issuer }
    }
    defaults = local.defaults
    database = { for key, value in local.database : key => value if value != null }
    backup   = { for key, value in local.backup : key => value if value != null }
  } : key => value if value != null })
  depends_on = [kubernetes_secret_v1.database, kubernetes_secret_v1.database_ca]
}

output "by_hand" {
  description = "What people put into Secrets of the shop's namespace, because nobody else knows it: names and keys."
  value = merge(
    var.backup == null ? {} : { (var.backup.secret) = ["access-key", "secret-key"] },
    try(var.backup.restore_test, "") == "" ? {} : { (var.backup.restore_test) = ["identity"] },
    var.stripe_secret == "" ? {} : { (var.stripe_secret) = ["secret-key", "webhook-secret"] },
  )
}

# What belongs to the cluster and not to the shop: namespaces, accounts with their rights, and the policies that deny everything. The chart
# makes the same with baseline.create, which is for clusters without Terraform; the policies that let something through are the chart's.

locals {
  shop       = "ecommerce-${var.environment}"
  monitoring = "monitoring"
  entry      = "ingress-nginx"
  namespaces = toset([local.shop, local.monitoring, local.entry])

  labels = {
    "app.kubernetes.io/part-of"    = "tienda"
    "app.kubernetes.io/managed-by" = "Terraform"
  }
  # Account and where it lives; both read what is in the namespace of the shop.
  accounts = { "microservices-sa" = local.shop, "monitoring-sa" = local.monitoring }

  rules = concat([
    { resources = ["configmaps"], verbs = ["get", "list", "watch"] },
    { resources = ["services", "pods"], verbs = ["get", "list"] },
  ], var.secret_access ? [{ resources = ["secrets"], verbs = ["get", "list", "watch"] }] : [])
}

resource "kubernetes_namespace_v1" "main" {
  for_each = local.namespaces

  metadata {
    name = each.key
    labels = merge(local.labels, {
      "pod-security.kubernetes.io/enforce" = "restricted"
      "pod-security.kubernetes.io/audit"   = "restricted"
      "pod-security.kubernetes.io/warn"    = "restricted"
    })
  }
}

# Pods that name no account get this one: it has no rights and no token.
resource "kubernetes_default_service_account_v1" "main" {
  for_each = local.namespaces

  metadata {
    namespace = kubernetes_namespace_v1.main[each.key].metadata[0].name
  }
  automount_service_account_token = false
}

resource "kubernetes_service_account_v1" "main" {
  for_each = local.accounts

  metadata {
    name      = each.key
    namespace = kubernetes_namespace_v1.main[each.value].metadata[0].name
    labels    = local.labels
  }
  automount_service_account_token = false
}

resource "kubernetes_role_v1" "main" {
  for_each = local.accounts

  metadata {
    name      = each.key
    namespace = kubernetes_namespace_v1.main[local.shop].metadata[0].name
    labels    = local.labels
  }
  dynamic "rule" {
    for_each = local.rules
    content {
      api_groups = [""]
      resources  = rule.value.resources
      verbs      = rule.value.verbs
    }
  }
}

resource "kubernetes_role_binding_v1" "main" {
  for_each = local.accounts

  metadata {
    name      = each.key
    namespace = kubernetes_namespace_v1.main[local.shop].metadata[0].name
    labels    = local.labels
  }
  role_ref {
    api_group = "rbac.authorization.k8s.io"
    kind      = "Role"
    name      = kubernetes_role_v1.main[each.key].metadata[0].name
  }
  subject {
    kind      = "ServiceAccount"
    name      = kubernetes_service_account_v1.main[each.key].metadata[0].name
    namespace = each.value
  }
}

resource "kubernetes_cluster_role_v1" "nodes" {
  metadata {
    name   = "${local.shop}-monitoring-nodes"
    labels = local.labels
  }
  rule {
    api_groups = [""]
    resources  = ["nodes"]
    verbs      = ["get", "list", "watch"]
  }
}

resource "kubernetes_cluster_role_binding_v1" "nodes" {
  metadata {
    name   = "${local.shop}-monitoring-nodes"
    labels = local.labels
  }
  role_ref {
    api_group = "rbac.authorization.k8s.io"
    kind      = "ClusterRole"
    name      = kubernetes_cluster_role_v1.nodes.metadata[0].name
  }
  subject {
    kind      = "ServiceAccount"
    name      = kubernetes_service_account_v1.main["monitoring-sa"].metadata[0].name
    namespace = local.monitoring
  }
}

resource "kubernetes_network_policy_v1" "default_deny" {
  for_each = var.network_policy_mode == "none" ? toset([]) : toset(["Ingress", "Egress"])

  metadata {
    name      = "default-deny-${lower(each.key)}"
    namespace = kubernetes_namespace_v1.main[local.shop].metadata[0].name
    labels    = local.labels
  }
  spec {
    pod_selector {}
    policy_types = [each.key]
  }
}

mock_provider "kubernetes" {}

variables {
  environment = "stage"
}

run "stage" {
  assert {
    condition     = toset([for n in kubernetes_namespace_v1.main : n.metadata[0].name]) == toset(["ecommerce-stage", "monitoring", "ingress-nginx"])
    error_message = "The namespaces are not those of the architecture."
  }
  assert {
    condition     = alltrue([for n in kubernetes_namespace_v1.main : n.metadata[0].labels["pod-security.kubernetes.io/enforce"] == "restricted"])
    error_message = "A namespace lets any pod in."
  }
  assert {
    condition     = { for a in kubernetes_service_account_v1.main : a.metadata[0].name => a.metadata[0].namespace } == { "microservices-sa" = "ecommerce-stage", "monitoring-sa" = "monitoring" }
    error_message = "The accounts are not those of the architecture."
  }
  assert {
    condition     = alltrue([for a in kubernetes_service_account_v1.main : a.automount_service_account_token == false]) && length(kubernetes_default_service_account_v1.main) == 3 && alltrue([for a in kubernetes_default_service_account_v1.main : a.automount_service_account_token == false])
    error_message = "Pods are given tokens that they did not ask for."
  }
  assert {
    condition = alltrue([for role in kubernetes_role_v1.main : length(role.rule) == 2 && alltrue([
      role.rule[0].resources == toset(["configmaps"]) && role.rule[0].verbs == toset(["get", "list", "watch"]),
      role.rule[1].resources == toset(["services", "pods"]) && role.rule[1].verbs == toset(["get", "list"]),
    ])])
    error_message = "The rights are others than those of ConfigMaps, Services and Pods."
  }
  assert {
    condition     = kubernetes_cluster_role_v1.nodes.rule[0].resources == tolist(["nodes"]) && kubernetes_cluster_role_v1.nodes.rule[0].verbs == tolist(["get", "list", "watch"])
    error_message = "The right to see nodes is another."
  }
  assert {
    condition     = kubernetes_cluster_role_binding_v1.nodes.subject[0].name == "monitoring-sa" && kubernetes_cluster_role_binding_v1.nodes.subject[0].namespace == "monitoring"
    error_message = "Nodes are seen by somebody else than monitoring-sa."
  }
  assert {
    condition     = toset([for p in kubernetes_network_policy_v1.default_deny : p.metadata[0].name]) == toset(["default-deny-ingress", "default-deny-egress"]) && alltrue([for p in kubernetes_network_policy_v1.default_deny : p.metadata[0].namespace == "ecommerce-stage"])
    error_message = "Not everything is denied by default."
  }
}

run "production_where_all_of_a_namespace_may_talk" {
  command = plan
  variables {
    environment         = "production"
    network_policy_mode = "allow-same-namespace"
  }
  assert {
    condition     = length(kubernetes_network_policy_v1.default_deny) == 2 && kubernetes_network_policy_v1.default_deny["Ingress"].metadata[0].namespace == "ecommerce-production"
    error_message = "Not everything is denied by default."
  }
}

run "secrets_by_choice" {
  command = plan
  variables {
    secret_access = true
  }
  assert {
    condition     = kubernetes_role_v1.main["monitoring-sa"].rule[2].resources == toset(["secrets"])
    error_message = "Secrets cannot be read although that was chosen."
  }
}

run "no_policies" {
  command = plan
  variables {
    network_policy_mode = "none"
  }
  assert {
    condition     = length(kubernetes_network_policy_v1.default_deny) == 0
    error_message = "There are policies although none were wanted."
  }
}

run "unknown_mode" {
  command = plan
  variables {
    network_policy_mode = "strict"
  }
  expect_failures = [var.network_policy_mode]
}

run "unknown_environment" {
  command = plan
  variables {
    environment = "prod"
  }
  expect_failures = [var.environment]
}

mock_provider "helm" {}

mock_provider "kubernetes" {
  mock_data "kubernetes_service_v1" {
    defaults = {
      status = [{ load_balancer = [{ ingress = [{ ip = "203.0.113.7", hostname = "", ip_mode = "VIP" }] }] }]
    }
  }
}

variables {
  namespace          = "ingress-nginx"
  load_balancer_name = "ecommerce-stage"
}

run "maintained_by_default" {
  assert {
    condition     = helm_release.main.chart == "nginx-ingress" && helm_release.main.version == "2.4.4"
    error_message = "The controller is not the maintained one."
  }
  assert {
    condition     = yamldecode(helm_release.main.values[0]).controller.resources.limits == { cpu = "500m", memory = "512Mi" } && yamldecode(helm_release.main.values[1]).controller.autoscaling == { enabled = true, minReplicas = 2, maxReplicas = 5 }
    error_message = "There are not 2 to 5 pods of at most 500m and 512Mi."
  }
  assert {
    condition     = yamldecode(helm_release.main.values[0]).prometheus.create
    error_message = "There are no metrics."
  }
  assert {
    condition     = yamldecode(helm_release.main.values[0]).controller.service.type == "LoadBalancer"
    error_message = "There is no load balancer."
  }
  assert {
    condition     = can(regex("do-loadbalancer-size-unit\": \"1\"", helm_release.main.values[1]))
    error_message = "The number of nodes of the load balancer is not text, which alone an annotation can be."
  }
  assert {
    condition     = output.address == "203.0.113.7"
    error_message = "The address is not the load balancer's."
  }
}

run "retired_by_choice" {
  command = plan
  variables {
    kind                = "ingress-nginx"
    accept_retired      = true
    load_balancer_nodes = 2
  }
  assert {
    condition     = helm_release.main.chart == "ingress-nginx" && yamldecode(helm_release.main.values[0]).controller.metrics.enabled
    error_message = "The community's controller cannot be chosen."
  }
}

run "retired_without_acceptance" {
  command = plan
  variables {
    kind = "ingress-nginx"
  }
  expect_failures = [var.kind]
}

run "unknown_kind" {
  command = plan
  variables {
    kind = "traefik"
  }
  expect_failures = [var.kind]
}

run "min_over_max" {
  command = plan
  variables {
    replicas = { min = 6, max = 5 }
  }
  expect_failures = [var.replicas]
}

run "no_load_balancer" {
  command = plan
  variables {
    load_balancer_nodes = 0
  }
  expect_failures = [var.load_balancer_nodes]
}

run "no_namespace" {
  command = plan
  variables {
    namespace = "Ingress_nginx"
  }
  expect_failures = [var.namespace]
}

run "no_version" {
  command = plan
  variables {
    chart_version = "latest"
  }
  expect_failures = [var.chart_version]
}

run "name_that_is_none" {
  command = plan
  variables {
    load_balancer_name = "the shop"
  }
  expect_failures = [var.load_balancer_name]
}

# All rules of the language: documented, typed and used variables, names, pinned versions, the files of a module.
plugin "terraform" {
  enabled = true
  preset  = "all"
}

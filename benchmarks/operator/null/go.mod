module null-operator

go 1.21

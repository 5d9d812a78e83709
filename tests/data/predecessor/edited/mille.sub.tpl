request_memory = 3000
request_disk = 4000000
+MaxRuntime = 3601
+AccountingGroup = "another"
request_cpus = $(cpus)
requirements = {requirements}

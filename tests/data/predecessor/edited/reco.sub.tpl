# mine
universe = vanilla
executable = {exe}
request_cpus = 3
request_cpus = 4
request_memory = 6 GB
include : more.sub
RequestDisk = 12GB
+JobFlavour = "tomorrow"
+MaxRuntime = 99
My.AccountingGroup = "group_u_FASER.users"
requirements = (Machine =!= LastRemoteHost) && \
               (OpSysAndVer =?= "AlmaLinux9")
max_retries = 3
concurrency_limits = mine
queue
request_cpus = 99
